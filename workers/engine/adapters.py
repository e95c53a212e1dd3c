"""LoRA adapters for OpenVINO GenAI: their files are checked, loaded once and chosen per request.

GenAI ignores tensors whose names it does not know, and an adapter of which nothing matches was measured to turn
every later picture black. So the names in the file's header are read first.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import openvino_genai

from graphs.errors import EngineError
from graphs.graph import Graph, LoraAdapter, LoraMode
from graphs.model_facts import Family
from graphs.request import AdapterSelection
from workers.engine.pipelines import RUNTIME_ERRORS, reason

_KOHYA = re.compile(r"lora_(unet|te[12]?)_[^.]+\.(lora_down\.weight|lora_up\.weight|alpha)")
_DIFFUSERS = re.compile(r"transformer\..+\.lora_[AB]\.weight")
_KEYS = {
    Family.SD: (_KOHYA,),
    Family.LCM: (_KOHYA,),
    Family.SDXL: (_KOHYA,),
    Family.SD3: (_DIFFUSERS,),
    Family.FLUX: (_DIFFUSERS, _KOHYA),
    Family.FLUX_FILL: (_DIFFUSERS, _KOHYA),
}
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library


def load_adapters(graph: Graph, family: Family) -> dict[str, openvino_genai.Adapter]:
    """Load the graph's adapters and return them by alias.

    Raises EngineError naming the adapter and its file when one cannot be used.
    """
    return {adapter.alias: _load(adapter, family) for adapter in graph.lora_adapters}


def adapter_config(
    loaded: Mapping[str, openvino_genai.Adapter], selections: Iterable[AdapterSelection | LoraAdapter]
) -> openvino_genai.AdapterConfig:
    """Return what ``adapters=`` takes for a request; without selections it is the base model.

    Raises EngineError for an alias that was not loaded.
    """
    config = openvino_genai.AdapterConfig(openvino_genai.AdapterConfig.Mode.MODE_DYNAMIC)
    for selection in selections:
        if selection.alias not in loaded:
            raise EngineError(f"The adapter {selection.alias!r} is not loaded.")
        config.add(loaded[selection.alias], selection.alpha)
    return config


def _load(adapter: LoraAdapter, family: Family) -> openvino_genai.Adapter:
    if adapter.mode is not LoraMode.DYNAMIC:
        raise _unusable(adapter, f"mode {adapter.mode} is not supported yet: use DYNAMIC")
    for key in _tensor_names(adapter):
        if not any(form.fullmatch(key) for form in _KEYS[family]):
            raise _unusable(adapter, f"the tensor {key!r} does not fit {family} models")
    try:
        return openvino_genai.Adapter(str(adapter.path))
    except RUNTIME_ERRORS as error:
        raise _unusable(adapter, reason(error)) from error


def _tensor_names(adapter: LoraAdapter) -> list[str]:
    try:
        tensors = _header(adapter.path)
    except OSError as error:
        raise _unusable(adapter, f"cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unusable(adapter, "it is not a safetensors file, or is cut off") from error
    if not tensors:
        raise _unusable(adapter, "it holds no tensor")
    return list(tensors)


def _header(path: Path) -> dict[str, Any]:
    """Each tensor's entry: 8 bytes of length, then JSON (https://huggingface.co/docs/safetensors).

    GenAI reads beyond the end of a file that is cut off, so the places of the data are checked.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise ValueError("The header is too long.")
        tensors: dict[str, Any] = json.loads(file.read(length))
    tensors.pop("__metadata__", None)
    room = path.stat().st_size - 8 - length
    if not all(0 <= start <= end <= room for start, end in (entry["data_offsets"] for entry in tensors.values())):
        raise ValueError("A tensor lies outside the file.")
    return tensors


def _unusable(adapter: LoraAdapter, why: str) -> EngineError:
    return EngineError(f"The adapter {adapter.alias!r} ({adapter.path}) cannot be used: {why}.")
