"""Reads the numbers of a tensor of a .safetensors file, of any of its floating-point or integer types."""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from graphs.adapters.safetensors_file import StoredTensor

Numbers = npt.NDArray[np.float32]

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
    "BOOL": "?",
}


def read_content(file: BinaryIO, tensor: StoredTensor) -> bytes:
    """Return a tensor's bytes as they stand in the file."""
    file.seek(tensor.start)
    return file.read(tensor.end - tensor.start)


def read_numbers(file: BinaryIO, tensor: StoredTensor) -> Numbers:
    """Return a tensor's numbers as f32 in its shape. A number beyond the range of f32 becomes infinite.

    Raises KeyError for a type that has no numbers.
    """
    content = read_content(file, tensor)
    with np.errstate(over="ignore"):
        return _decoded(content, tensor.dtype).astype(np.float32).reshape(tensor.shape)


def _decoded(content: bytes, dtype: str) -> npt.NDArray[Any]:
    if dtype == "BF16":  # the upper half of an f32
        return (np.frombuffer(content, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E5M2":  # the upper half of an f16
        return (np.frombuffer(content, dtype="u1").astype(np.uint16) << 8).view(np.float16)
    if dtype == "F8_E4M3":
        return np.take(_E4M3, np.frombuffer(content, dtype="u1"))
    return np.frombuffer(content, dtype=_TYPES[dtype])


def _e4m3_values() -> Numbers:
    """Return the number of each byte of F8_E4M3: sign, 4 bits of exponent, 3 of mantissa, no infinity.

    As in "FP8 Formats for Deep Learning" (https://arxiv.org/abs/2209.05433).
    """
    byte = np.arange(256)
    exponent = (byte >> 3) & 15
    mantissa = (byte & 7) / 8
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7))
    size[(byte & 127) == 127] = np.nan
    return np.where(byte >= 128, -size, size).astype(np.float32)


_E4M3 = _e4m3_values()
