"""What half precision would spoil is kept when a part is written in it."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import Model
from openvino import opset13 as ops

from tools.exporter.precision import write_half

FREQUENCIES = np.exp(-np.log(10000) * np.arange(128) / 128).astype(np.float32)
TIMES = np.linspace(0, 1000, 64, dtype=np.float32)


def _time_steps() -> Model:
    """Return a model that gives the sines of a time step, through a product of matrices, and a weight."""
    time = ops.parameter([64, 1], openvino.Type.f32, name="time")
    angles = ops.matmul(time, ops.constant(FREQUENCIES.reshape(1, 128)), False, False)
    weighted = ops.multiply(ops.sin(angles), ops.constant(np.full(128, 0.1, np.float32)))
    return Model([weighted], [time])


def test_a_sine_of_large_angles_is_the_same_in_half_precision(tmp_path: Path) -> None:
    expected = np.sin(TIMES.reshape(64, 1) * FREQUENCIES.astype(np.float64)) * 0.1
    openvino.save_model(_time_steps(), str(tmp_path / "plain.xml"), compress_to_fp16=True)
    write_half(_time_steps(), tmp_path / "model.xml")
    errors = {}
    for name in ("plain", "model"):
        compiled = openvino.Core().compile_model(
            str(tmp_path / f"{name}.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        errors[name] = float(np.abs(compiled(TIMES.reshape(64, 1))[0] - expected).max())
    assert errors["plain"] > 0.01
    assert errors["model"] < 1e-4


def test_weights_are_half_and_the_file_may_be_the_one_that_was_read(tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    openvino.save_model(_time_steps(), str(xml), compress_to_fp16=False)
    full_bytes = xml.with_suffix(".bin").stat().st_size
    write_half(openvino.Core().read_model(str(xml)), xml)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    model = openvino.Core().read_model(str(xml))
    kinds = {node.get_element_type() for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert openvino.Type.f32 not in kinds
    assert xml.with_suffix(".bin").stat().st_size < full_bytes


@pytest.mark.parametrize("value", [0.5, 1.0e6])
def test_what_half_precision_holds_or_cannot_hold_at_all_stays_one_number(tmp_path: Path, value: float) -> None:
    given = ops.parameter([1], openvino.Type.f32, name="given")
    model = Model([ops.cos(ops.multiply(given, ops.constant(np.array([value], np.float32))))], [given])
    write_half(model, tmp_path / "model.xml")
    assert "Add" not in {node.get_type_name() for node in openvino.Core().read_model(tmp_path / "model.xml").get_ops()}
