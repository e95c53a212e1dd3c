"""Converts a checked LoRA adapter into a safetensors file in memory, with the tensor names that GenAI expects.

GenAI 2026.4.1 ignores the alpha in a file, and would apply an adapter trained with alpha 1 and rank 32 32 times too
strongly. So ``alpha / rank`` of the first layer is multiplied into the strength given to GenAI. Where the ratio of
another layer differs, the quotient is multiplied into the numbers of that layer.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from graphs.adapters.fit import AdapterFit, LayerUpdate
from graphs.adapters.safetensors_file import StoredTensor

_ALIGNMENT = 8  # bytes; as the safetensors library pads its headers
_TYPES = {"F32": "<f4", "F16": "<f2"}
_SIZES = {"F32": 4, "F16": 2, "BF16": 2}  # bytes
_Tensor = tuple[str, str, tuple[int, ...], bytes]  # name, type, shape, content


@dataclass(frozen=True)
class Converted:
    """A converted adapter: apply the file ``content`` with ``strength`` times the requested alpha."""

    content: npt.NDArray[np.uint8]
    strength: float


def convert(fit: AdapterFit) -> Converted:
    """Return the adapter as a safetensors file: tensors renamed, rows of fused layers split, alpha left out.

    Raises OSError when the adapter's file can no longer be read.
    """
    with fit.path.open("rb") as file:
        ratios = [_ratio(file, update) for update in fit.updates]
        # With alpha 0 in the first layer, the strength is 1 and each layer is scaled by its own ratio.
        strength = ratios[0] or 1.0
        tensors = (
            tensor
            for update, ratio in zip(fit.updates, ratios, strict=True)
            for tensor in _tensors(file, update, ratio / strength)
        )
        return Converted(_written(tensors), strength)


def zero_adapter(ranks: Iterable[tuple[LayerUpdate, int]]) -> npt.NDArray[np.uint8]:
    """Return a safetensors file: an adapter of zeros, with the given rank for the layer of each update."""
    return _written(tensor for update, rank in ranks for tensor in _zeros(update, rank))


def _written(tensors: Iterable[_Tensor]) -> npt.NDArray[np.uint8]:
    header: dict[str, dict[str, object]] = {}
    data = bytearray()
    for name, dtype, shape, content in tensors:
        start = len(data)
        data += content
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return np.frombuffer(b"".join((len(text).to_bytes(8, "little"), text, data)), dtype=np.uint8)


def _zeros(update: LayerUpdate, rank: int) -> Iterator[_Tensor]:
    dtype = update.down.dtype
    down = update.down.shape
    up = update.up.shape
    for part, shape in (("A", (rank, *down[1:])), ("B", (up[0], rank, *up[2:]))):
        yield f"{update.target.name}.lora_{part}.weight", dtype, shape, bytes(_SIZES[dtype] * math.prod(shape))


def _tensors(file: BinaryIO, update: LayerUpdate, factor: float) -> Iterator[_Tensor]:
    for part, tensor, scale in (("A", update.down, 1.0), ("B", update.up, factor)):
        name = f"{update.target.name}.lora_{part}.weight"
        if factor == 1.0:
            yield name, tensor.dtype, tensor.shape, _content(file, tensor)
        else:  # as f32: f16 could lose small numbers, and GenAI requires one type for both
            yield name, "F32", tensor.shape, (_numbers(file, tensor) * np.float32(scale)).tobytes()


def _ratio(file: BinaryIO, update: LayerUpdate) -> float:
    """Return the factor of an update before any strength: ``alpha / rank``, or 1 without alpha."""
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
