"""Numbers of every type that a safetensors file may store."""

from pathlib import Path

import numpy as np
import pytest

from graphs.adapters.safetensors_file import StoredTensor
from graphs.adapters.tensors import Numbers, read_numbers


def numbers(folder: Path, dtype: str, content: bytes, *shape: int) -> Numbers:
    path = folder / "numbers"
    path.write_bytes(b"--" + content)
    with path.open("rb") as file:
        return read_numbers(file, StoredTensor(dtype, shape, 2, 2 + len(content)))


@pytest.mark.parametrize(
    ("dtype", "content"),
    [
        ("F64", np.array([1.5, -2.0], "<f8").tobytes()),
        ("F32", np.array([1.5, -2.0], "<f4").tobytes()),
        ("F16", np.array([1.5, -2.0], "<f2").tobytes()),
        ("BF16", bytes.fromhex("c03f 00c0")),
        ("F8_E5M2", bytes.fromhex("3e c0")),
        ("F8_E4M3", bytes.fromhex("3c c0")),
    ],
)
def test_the_same_numbers_in_every_type(dtype: str, content: bytes, tmp_path: Path) -> None:
    found = numbers(tmp_path, dtype, content, 2, 1)

    assert found.dtype == np.dtype("float32")
    assert found.shape == (2, 1)
    assert found.ravel().tolist() == [1.5, -2.0]


def test_the_edges_of_the_eight_bit_types(tmp_path: Path) -> None:
    """The largest, the smallest and the special numbers of "FP8 Formats for Deep Learning", table 1."""
    assert numbers(tmp_path, "F8_E4M3", bytes.fromhex("7e 01 08 80"), 4).tolist() == [448.0, 2.0**-9, 2.0**-6, 0.0]
    assert np.isnan(numbers(tmp_path, "F8_E4M3", bytes.fromhex("7f ff"), 2)).all()
    assert numbers(tmp_path, "F8_E5M2", bytes.fromhex("7b 01"), 2).tolist() == [57344.0, 2.0**-16]
    assert not np.isfinite(numbers(tmp_path, "F8_E5M2", bytes.fromhex("7c 7f"), 2)).any()


def test_whole_numbers_are_read_too(tmp_path: Path) -> None:
    for dtype, code in (("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("U8", "u1")):
        assert numbers(tmp_path, dtype, np.array([16], code).tobytes()).item() == 16.0


def test_a_number_beyond_f32_is_infinite(tmp_path: Path) -> None:
    assert np.isinf(numbers(tmp_path, "F64", np.array([1e300], "<f8").tobytes(), 1)).all()
