"""Converts a checked LoRA adapter into a safetensors file in memory, with the tensor names that GenAI expects.

GenAI 2026.4.1 ignores the alpha in a file, and would apply an adapter trained with alpha 1 and rank 32 32 times too
strongly. So ``alpha / rank`` of the first layer is multiplied into the strength given to GenAI. Where the ratio of
another layer differs, the quotient is multiplied into the numbers of that layer.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from graphs.adapters.tensors import read_content
from graphs.adapters.updates import AdapterFit, LayerUpdate

_ALIGNMENT = 8  # bytes; as the safetensors library pads its headers
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
    # With scale 0 in the first layer, the strength is 1 and each layer is multiplied by its own scale.
    strength = fit.updates[0].scale or 1.0
    with fit.path.open("rb") as file:
        tensors = (tensor for update in fit.updates for tensor in _tensors(file, update, update.scale / strength))
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
    dtype = update.dtype
    layer = update.target.layer
    for part, shape in (("A", (rank, layer.inputs)), ("B", (layer.outputs, rank))):
        yield _name(update, part), dtype, shape, bytes(_SIZES[dtype] * math.prod(shape))


def _tensors(file: BinaryIO, update: LayerUpdate, factor: float) -> Iterator[_Tensor]:
    plain = update.plain
    if plain is not None and factor == 1.0:  # the numbers as they stand in the file
        dtype = plain.down.dtype
        rank, inputs = plain.down.shape[:2]
        row_bytes = rank * _SIZES[dtype]
        rows = update.rows
        up = read_content(file, plain.up)[rows.start * row_bytes : rows.stop * row_bytes]
        yield _name(update, "A"), dtype, (rank, inputs), read_content(file, plain.down)
        yield _name(update, "B"), dtype, (rows.stop - rows.start, rank), up
    else:  # as f32: f16 could lose small numbers, and GenAI requires one type for both
        down, up_numbers = update.matrices(file)
        yield _name(update, "A"), "F32", down.shape, down.tobytes()
        scaled = up_numbers * np.float32(factor)
        yield _name(update, "B"), "F32", scaled.shape, scaled.tobytes()


def _name(update: LayerUpdate, part: str) -> str:
    return f"{update.target.name}.lora_{part}.weight"
