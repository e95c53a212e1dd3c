"""A LoRA adapter that fits, written anew as a safetensors file in memory under the names GenAI takes.

GenAI 2026.4.1 takes no notice of the alpha in a file, and would apply an adapter trained with alpha 1 and rank 32
32 times too strong. So ``alpha / rank`` is multiplied into the strength that GenAI is given, and where a layer has
another ratio than the first one, the difference into its numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from graphs.adapter_fit import AdapterFit, LayerUpdate
from graphs.safetensors_file import StoredTensor

_ALIGNMENT = 8  # bytes; as the safetensors library pads its headers
_TYPES = {"F32": "<f4", "F16": "<f2"}


@dataclass(frozen=True)
class Converted:
    """The adapter as ``content`` has to be applied with ``strength`` times the alpha that is asked for."""

    content: npt.NDArray[np.uint8]
    strength: float


def convert(fit: AdapterFit) -> Converted:
    """Return the adapter as a safetensors file: renamed, each fused layer's rows split, without alpha.

    Raises OSError when the file cannot be read any more.
    """
    header: dict[str, dict[str, object]] = {}
    data = bytearray()
    with fit.path.open("rb") as file:
        ratios = [_ratio(file, update) for update in fit.updates]
        # An adapter whose first layer is switched off is scaled layer by layer.
        strength = ratios[0] or 1.0
        for update, ratio in zip(fit.updates, ratios, strict=True):
            for name, dtype, shape, content in _tensors(file, update, ratio / strength):
                start = len(data)
                data += content
                header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    content = b"".join((len(text).to_bytes(8, "little"), text, data))
    return Converted(np.frombuffer(content, dtype=np.uint8), strength)


def _tensors(file: BinaryIO, update: LayerUpdate, factor: float) -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
    for part, tensor, scale in (("A", update.down, 1.0), ("B", update.up, factor)):
        name = f"{update.target.name}.lora_{part}.weight"
        if factor == 1.0:
            yield name, tensor.dtype, tensor.shape, _content(file, tensor)
        else:  # as f32: f16 could lose small numbers, and GenAI wants both of one type
            yield name, "F32", tensor.shape, (_numbers(file, tensor) * np.float32(scale)).tobytes()


def _ratio(file: BinaryIO, update: LayerUpdate) -> float:
    """What an update is multiplied with before any strength: ``alpha / rank``, 1 without alpha."""
    if update.alpha is None:
        return 1.0
    alpha = update.alpha if isinstance(update.alpha, float) else float(_numbers(file, update.alpha)[0])
    return alpha / update.down.shape[0]


def _numbers(file: BinaryIO, tensor: StoredTensor) -> npt.NDArray[np.float32]:
    content = _content(file, tensor)
    if tensor.dtype == "BF16":  # the upper half of an f32
        return (np.frombuffer(content, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    numbers: npt.NDArray[Any] = np.frombuffer(content, dtype=_TYPES[tensor.dtype])
    return numbers.astype(np.float32)


def _content(file: BinaryIO, tensor: StoredTensor) -> bytes:
    file.seek(tensor.start)
    return file.read(tensor.end - tensor.start)
