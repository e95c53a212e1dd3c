"""Reads the header of a .safetensors file: which tensors it holds and where. It checks sizes and unpickles nothing.

The format is eight bytes of length, JSON of that length, then the data (https://huggingface.co/docs/safetensors).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from graphs.errors import NotSafetensors

# Bytes. The safetensors library allows 100 MB, which takes 2.6 GB as Python objects; adapters have up to a few MB.
LARGEST_HEADER = 8 * 2**20
_MOST_DIMENSIONS = 8
ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor: its type as safetensors writes it, its shape, and its bytes as ``[start, end)`` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensors of a file by name, and its free text."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check a file's header.

    Raises NotSafetensors when the file is empty, cut off or of another kind (the message is a clause that starts with
    "it"), OSError when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size == 0:
            raise NotSafetensors("it is empty")
        # Checked before reading: in a file of another kind these bytes may be any number.
        if size < 10 or 8 + length > size:
            raise NotSafetensors("it is not a safetensors file, or is cut off")
        if length > LARGEST_HEADER:
            raise NotSafetensors(f"its header has {length} bytes, and an adapter's may have {LARGEST_HEADER}")
        entries = _entries(file.read(length))
    metadata = entries.pop("__metadata__", {})
    tensors = {name: _tensor(name, entry, 8 + length, size) for name, entry in entries.items()}
    if not tensors:
        raise NotSafetensors("it holds no tensor")
    if not isinstance(metadata, dict):
        raise NotSafetensors("it is not a safetensors file")
    return SafetensorsHeader(tensors, {str(key): str(value) for key, value in metadata.items()})


def _entries(text: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotSafetensors("it is not a safetensors file") from error
    if not isinstance(entries, dict):
        raise NotSafetensors("it is not a safetensors file")
    return entries


def _tensor(name: str, entry: object, data: int, size: int) -> StoredTensor:
    """Return a tensor after checking its numbers with each other and with the file's size.

    ``data`` is the offset in the file at which the tensors start.
    """
    if not isinstance(entry, dict):
        raise NotSafetensors("it is not a safetensors file")
    dtype = entry.get("dtype")
    shape = entry.get("shape")
    place = entry.get("data_offsets")
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(place) and len(place) == 2):
        raise NotSafetensors(f"its tensor {name!r} has no usable type, shape or place")
    start = data + place[0]
    end = data + place[1]
    # GenAI reads beyond the end of a file that is cut off.
    if not start <= end <= size:
        raise NotSafetensors(f"it is cut off: its tensor {name!r} lies outside the file")
    if dtype in ITEM_BYTES and math.prod(shape) * ITEM_BYTES[dtype] != end - start:
        raise NotSafetensors(f"its tensor {name!r} has a shape and a length that contradict each other")
    return StoredTensor(dtype, tuple(shape), start, end)


def _are_counts(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or len(value) > _MOST_DIMENSIONS:
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
