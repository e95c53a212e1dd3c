"""LoRA adapters for OpenVINO GenAI: their files are checked, loaded once and chosen per request.

GenAI ignores tensors whose names it does not know, and an adapter of which nothing matches was measured to turn
every later picture black. So the names in the file's header are read first.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

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
    """The names in the header: 8 bytes of length, then JSON (https://huggingface.co/docs/safetensors)."""
    try:
        header = json.loads(_header(adapter.path))
    except OSError as error:
        raise _unusable(adapter, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(adapter, "is not a safetensors file") from error
    names = [name for name in header if name != "__metadata__"] if isinstance(header, dict) else []
    if not names:
        raise _unusable(adapter, "is not a safetensors file, or holds no tensor")
    return names


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise ValueError("The header is too long.")
        return file.read(length)


def _unusable(adapter: LoraAdapter, why: str) -> EngineError:
    return EngineError(f"The adapter {adapter.alias!r} ({adapter.path}) cannot be used: {why}.")
