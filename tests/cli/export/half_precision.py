"""Writes a model of sines in half precision and measures it: ``python -m tests.cli.export.half_precision FOLDER``.

A process of its own, as the converter is: OpenVINO that was compiled and freed in the process of the tests can make a
signal that comes later end it. Prints a JSON object: the largest error of each file, and how many additions it has.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from openvino import Model
from openvino import opset13 as ops

from tools.exporter.precision import write_half

_FREQUENCIES = np.exp(-np.log(10000) * np.arange(128) / 128).astype(np.float32)
_TIMES = np.linspace(0, 1000, 64, dtype=np.float32).reshape(64, 1)


def main() -> None:
    folder = Path(sys.argv[1])
    openvino.save_model(_time_steps(), str(folder / "plain.xml"), compress_to_fp16=True)
    write_half(_time_steps(), folder / "kept.xml")
    openvino.save_model(_time_steps(), str(folder / "full.xml"), compress_to_fp16=False)
    for name, frequency in (("exact", 0.5), ("too_large", 1.0e6)):
        write_half(_cosine(frequency), folder / f"{name}.xml")
    errors = {name: _error(folder / f"{name}.xml") for name in ("plain", "kept")}
    write_half(openvino.Core().read_model(str(folder / "full.xml")), folder / "full.xml")
    print(json.dumps({"errors": errors, "types": {path.stem: _types(path) for path in folder.glob("*.xml")}}))


def _time_steps() -> Model:
    """Return a model that gives the sines of a time step, through a product of matrices, and a weight."""
    time = ops.parameter([64, 1], openvino.Type.f32, name="time")
    angles = ops.matmul(time, ops.constant(_FREQUENCIES.reshape(1, 128)), False, False)
    weighted = ops.multiply(ops.sin(angles), ops.constant(np.full(128, 0.1, np.float32)))
    return Model([weighted], [time])


def _cosine(frequency: float) -> Model:
    given = ops.parameter([1], openvino.Type.f32, name="given")
    return Model([ops.cos(ops.multiply(given, ops.constant(np.array([frequency], np.float32))))], [given])


def _error(xml: Path) -> float:
    compiled = openvino.Core().compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.sin(_TIMES * _FREQUENCIES.astype(np.float64)) * 0.1
    return float(np.abs(compiled(_TIMES)[0] - expected).max())


def _types(xml: Path) -> list[str]:
    """Return the types of a model's nodes, with the element type of each constant."""
    nodes = openvino.Core().read_model(str(xml)).get_ops()
    constants = {node.get_element_type().get_type_name() for node in nodes if node.get_type_name() == "Constant"}
    return sorted({node.get_type_name() for node in nodes} | constants)


if __name__ == "__main__":
    main()
