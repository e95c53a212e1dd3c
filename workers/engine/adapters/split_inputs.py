"""Gives layers of a model's IR an input operation of their own, for the sake of adapters.

GenAI 2026.4.1 refuses a branch beside a layer whose input is one of several outputs of an operation ("Default output
not supported"), as that of ``attn.to_out.0`` in FLUX's joint blocks. A conversion from f32 to f32 in between changes no
number and is removed when the model is compiled.

The CPU plugin of OpenVINO 2026.4.1 computes the adapter of a layer whose input is an input of the model from the memory
of an earlier call (docs/upstream/cpu-lora-address.md). A limit to the range of f32 changes no number either, but stays
in the compiled model: the layer then reads the limit's output, which always has the same address.

The IR is edited as XML: its weights stay where they are.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

from graphs.adapters.layers import layer_path

_LARGEST_F32 = "3.4028235e+38"


def split_inputs(xml_path: Path, layer_paths: Iterable[str]) -> None:
    """Replace an IR's .xml, which may be a link, by one in which these layers have an input of their own.

    Raises OSError when it cannot be read or written, RuntimeError for a layer that it does not have.
    """
    tree = ET.parse(xml_path)  # noqa: S314
    layers = tree.find("layers")
    edges = tree.find("edges")
    if layers is None or edges is None:
        raise RuntimeError(f"{xml_path} is not an IR")
    wanted = set(layer_paths)
    inputs = {layer.get("id") for layer in layers if layer.get("type") == "Parameter"}
    next_id = 1 + max(int(layer.get("id", "0")) for layer in layers)
    for layer in list(layers):
        path = layer_path(layer.get("name", ""), layer.get("type", ""))
        if path in wanted:
            wanted.remove(path)
            edge = _first_input(edges, layer.get("id", ""))
            limits = edge.get("from-layer") in inputs
            layers.append(_operation(layer, next_id, limits=limits))
            _reroute(edges, edge, str(next_id))
            next_id += 1
    if wanted:
        raise RuntimeError(f"{xml_path} has no layer {min(wanted)}")
    xml_path.unlink()
    tree.write(xml_path, encoding="utf-8", xml_declaration=True)


def _first_input(edges: ET.Element, layer_id: str) -> ET.Element:
    return next(edge for edge in edges if edge.get("to-layer") == layer_id and edge.get("to-port") == "0")


def _operation(layer: ET.Element, number: int, *, limits: bool) -> ET.Element:
    """Return an operation whose input and output are as the first input of the layer, and equal.

    It is a limit to all numbers of f32 with ``limits``, else a conversion to f32.
    """
    kind = "Clamp" if limits else "Convert"
    operation = ET.Element("layer", id=str(number), name=f"{layer.get('name')}/input", type=kind, version="opset1")
    data = {"min": f"-{_LARGEST_F32}", "max": _LARGEST_F32} if limits else {"destination_type": "f32"}
    ET.SubElement(operation, "data", data)
    first = layer.find("input/port[@id='0']")
    if first is None:
        raise RuntimeError(f"the layer {layer.get('name')} has no input")
    for name, port_id in (("input", "0"), ("output", "1")):
        port = deepcopy(first)
        port.set("id", port_id)
        port.set("precision", "FP32")
        ET.SubElement(operation, name).append(port)
    return operation


def _reroute(edges: ET.Element, edge: ET.Element, operation_id: str) -> None:
    """Lead an edge to the operation, and a new one from there to where the edge led."""
    ends = {name: edge.get(name, "") for name in ("to-layer", "to-port")}
    edge.set("to-layer", operation_id)
    ET.SubElement(edges, "edge", {"from-layer": operation_id, "from-port": "1", **ends})
