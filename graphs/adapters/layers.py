"""Reads the layers that a LoRA adapter can change from a model's IR (.xml), without OpenVINO.

They are the MatMul and Convolution operations with a weight. OpenVINO GenAI finds them for an adapter by their name,
``__module.<path of the torch module>/...``.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from graphs.operator_files import is_file

_NAME = re.compile(r"__module\.([^/]+)/")
_WEIGHTED = ("MatMul", "Convolution")
_FLOATS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Layer:
    """One layer: ``kernel`` is the number of weights in a convolution's kernel, 9 for 3x3, and 1 for a linear layer.

    ``takes_branch``: GenAI can add the adapter as a branch beside the layer (DYNAMIC, STATIC);
    ``takes_merge``: GenAI can merge it into the layer's weight (FUSE); ``reads_input``: its input is one of the
    model's inputs.
    """

    path: str
    inputs: int
    outputs: int
    kernel: int
    takes_branch: bool
    takes_merge: bool
    reads_input: bool = False

    @property
    def columns(self) -> int:
        """The number of weights of one output: inputs times kernel."""
        return self.inputs * self.kernel


@dataclass(frozen=True)
class _Operation:
    kind: str
    name: str
    data: Mapping[str, str]
    weight: tuple[int, ...]
    outputs: int


def read_layers(xml_path: Path) -> Mapping[str, Layer]:
    """Return the layers by their module path, none if the file does not exist.

    Raises ET.ParseError (a SyntaxError) for a file that is not XML, OSError when it cannot be read.
    """
    if not is_file(xml_path):  # reading a pipe might never end
        return {}
    return _read(xml_path, xml_path.stat().st_mtime_ns)


def layer_path(name: str, kind: str) -> str | None:
    """Return the module path of the layer that an operation computes, None for an operation of another kind.

    ``name`` and ``kind`` are as the IR has them, such as ``__module.proj_in/aten::linear/MatMul`` and ``MatMul``.
    """
    match = _NAME.match(name) if kind in _WEIGHTED else None
    return match[1] if match else None


@lru_cache(maxsize=8)
def _read(xml_path: Path, changed: int) -> Mapping[str, Layer]:
    """``changed``, the time of the last change, is part of the cache's key: a replaced file is read again."""
    operations, sources = _parse(xml_path)
    found: dict[str, Layer] = {}
    for number, operation in operations.items():
        path = layer_path(operation.name, operation.kind)
        if path is None or len(operation.weight) not in (2, 4):
            continue
        above = operations.get(sources.get((number, "0"), ""))
        weight = sources.get((number, "1"), "")
        layer = replace(
            _layer(path, operation),
            takes_branch=above is not None and above.outputs == 1,
            takes_merge=_is_plain(weight, operations, sources),
            reads_input=above is not None and above.kind == "Parameter",
        )
        found.setdefault(layer.path, layer)
    return found


def _layer(path: str, operation: _Operation) -> Layer:
    # [out, in] for a linear layer, whose MatMul transposes it; [out, in, ...] for a convolution.
    transposed = operation.kind == "Convolution" or operation.data.get("transpose_b") == "true"
    outputs, inputs = operation.weight[:2] if transposed else reversed(operation.weight[:2])
    kernel = math.prod(operation.weight[2:])
    return Layer(path, inputs, outputs, kernel, takes_branch=False, takes_merge=False)


def _is_plain(number: str, operations: Mapping[str, _Operation], sources: Mapping[tuple[str, str], str]) -> bool:
    """Return whether a weight is a floating-point constant, not one that is unpacked from 8 or 4 bits."""
    operation = operations.get(number)
    if operation is not None and operation.kind == "Convert":
        operation = operations.get(sources.get((number, "0"), ""))
    return operation is not None and operation.kind == "Const" and operation.data.get("element_type") in _FLOATS


def _parse(xml_path: Path) -> tuple[dict[str, _Operation], dict[tuple[str, str], str]]:
    """Return the operations by number, and for each ``(number, input port)`` the number of the operation before it."""
    operations: dict[str, _Operation] = {}
    sources: dict[tuple[str, str], str] = {}
    depth = 0
    for event, element in ET.iterparse(xml_path, events=("start", "end")):  # noqa: S314
        if element.tag == "body":  # the body of a loop or a condition has its own numbers
            depth += 1 if event == "start" else -1
        if event == "start" or depth:
            continue
        if element.tag == "layer":
            operations[element.get("id", "")] = _operation(element)
            element.clear()
        elif element.tag == "edge":
            sources[element.get("to-layer", ""), element.get("to-port", "")] = element.get("from-layer", "")
    return operations, sources


def _operation(element: ET.Element) -> _Operation:
    data = element.find("data")
    dims = [dim.text or "" for dim in element.findall("input/port[@id='1']/dim")]
    weight = tuple(map(int, dims)) if all(dim.isdigit() for dim in dims) else ()
    outputs = len(element.findall("output/port"))
    attributes = {} if data is None else dict(data.attrib)
    return _Operation(element.get("type", ""), element.get("name", ""), attributes, weight, outputs)
