"""Writes a part in half precision, but for what half precision would spoil."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino
from openvino import Model, Node
from openvino import opset13 as ops

_PERIODIC = ("Sin", "Cos")
_FLOATS = (openvino.Type.f32, openvino.Type.f64)
# Frequencies are short lists. What is longer is a weight, which half precision is meant for.
_MOST_NUMBERS = 2**16


def write_half(model: Model, xml: Path) -> None:
    """Write a model to ``xml`` with its constants in half precision; the file may be the one that it was read from."""
    _keep_frequencies(model)
    written = xml.with_name("half.xml")
    openvino.save_model(model, str(written), compress_to_fp16=True)
    del model
    gc.collect()
    os.replace(written.with_suffix(".bin"), xml.with_suffix(".bin"))
    os.replace(written, xml)


def _keep_frequencies(model: Model) -> None:
    """Make each constant that a sine depends on the sum of two, so that half precision does not change it.

    The frequencies of a time step are multiplied with up to 1,000: an error of half precision in them moves the phase
    by half a radian, and FLUX's transformer as a whole by 0.016. The two halves of a number have 22 bits together.
    """
    periodic = [node for node in model.get_ordered_ops() if node.get_type_name() in _PERIODIC]
    for constant in _constants_before(periodic):
        value = np.asarray(constant.data, dtype=np.float64)
        with np.errstate(over="ignore"):
            high = value.astype(np.float16).astype(np.float64)
        if not np.isfinite(high).all() or (high == value).all():
            continue
        kind = constant.get_element_type()
        total = ops.add(ops.constant(high, kind), ops.constant(value - high, kind))
        for used in list(constant.output(0).get_target_inputs()):
            used.replace_source_output(total.output(0))


def _constants_before(nodes: list[Node]) -> Iterator[Node]:
    """Yield each short constant of floating point numbers that the nodes depend on."""
    waiting = list(nodes)
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        if node.get_type_name() != "Constant":
            waiting += [given.get_source_output().get_node() for given in node.inputs()]
        elif node.get_element_type() in _FLOATS and np.prod(node.get_output_shape(0)) <= _MOST_NUMBERS:
            yield node
