"""The layers of an exported model that a LoRA adapter can change, read from the IR's .xml without OpenVINO.

They are the MatMul and Convolution operations with a weight, named ``__module.<path of the torch module>/...``:
the name that OpenVINO GenAI looks adapters up by.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graphs.operator_files import is_file

_NAME = re.compile(r"__module\.([^/]+)/")
_FLOATS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Layer:
    """One layer: ``kernel`` is 1 but for a convolution that sees its neighbours.

    ``takes_branch``: GenAI can add the adapter beside it (DYNAMIC, STATIC); ``takes_merge``: into its weight (FUSE).
    """

    path: str
    inputs: int
    outputs: int
    kernel: int
    takes_branch: bool
    takes_merge: bool


@dataclass(frozen=True)
class _Operation:
    kind: str
    name: str
    data: Mapping[str, str]
    weight: tuple[int, ...]
    outputs: int


def read_layers(xml_path: Path) -> Mapping[str, Layer]:
    """Return the layers by their module path; empty where there is no such file.

    Raises ET.ParseError (a SyntaxError) for a file that is not XML, OSError when it cannot be read.
    """
    if not is_file(xml_path):  # a pipe would never be read to its end
        return {}
    return _read(xml_path, xml_path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(xml_path: Path, changed: int) -> Mapping[str, Layer]:
    """``changed`` keeps a replaced file from being answered from memory."""
    operations, sources = _parse(xml_path)
    found: dict[str, Layer] = {}
    for number, operation in operations.items():
        name = _NAME.match(operation.name)
        if name is None or operation.kind not in ("MatMul", "Convolution") or len(operation.weight) not in (2, 4):
            continue
        above = operations.get(sources.get((number, "0"), ""))
        weight = sources.get((number, "1"), "")
        layer = _layer(
            name[1], operation, above is not None and above.outputs == 1, _is_plain(weight, operations, sources)
        )
        found.setdefault(layer.path, layer)
    return found


def _layer(path: str, operation: _Operation, takes_branch: bool, takes_merge: bool) -> Layer:
    # [out, in] for a linear layer, whose MatMul transposes it; [out, in, ...] for a convolution.
    transposed = operation.kind == "Convolution" or operation.data.get("transpose_b") == "true"
    outputs, inputs = operation.weight[:2] if transposed else reversed(operation.weight[:2])
    kernel = max((*operation.weight[2:], 1))
    return Layer(path, inputs, outputs, kernel, takes_branch, takes_merge)


def _is_plain(number: str, operations: Mapping[str, _Operation], sources: Mapping[tuple[str, str], str]) -> bool:
    """Whether a weight is a constant of floating point, and not unpacked from 8 or 4 bits."""
    operation = operations.get(number)
    if operation is not None and operation.kind == "Convert":
        operation = operations.get(sources.get((number, "0"), ""))
    return operation is not None and operation.kind == "Const" and operation.data.get("element_type") in _FLOATS


def _parse(xml_path: Path) -> tuple[dict[str, _Operation], dict[tuple[str, str], str]]:
    """The operations by number, and for each ``(number, input port)`` the number of what feeds it."""
    operations: dict[str, _Operation] = {}
    sources: dict[tuple[str, str], str] = {}
    depth = 0
    for event, element in ET.iterparse(xml_path, events=("start", "end")):  # noqa: S314
        if element.tag == "body":  # of a loop or a condition: numbers of its own
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
