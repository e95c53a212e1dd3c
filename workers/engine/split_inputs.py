"""Gives layers of a model's IR an input operation of their own, so that GenAI can add an adapter's branch to them.

GenAI 2026.4.1 refuses a branch beside a layer whose input is one of several outputs of an operation ("Default output
not supported"), as that of ``attn.to_out.0`` in FLUX's joint blocks. A conversion from f32 to f32 in between changes no
number and is removed when the model is compiled. The IR is edited as XML: its weights stay where they are.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

_NAME = re.compile(r"__module\.([^/]+)/")
_WEIGHTED = ("MatMul", "Convolution")


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
    next_id = 1 + max(int(layer.get("id", "0")) for layer in layers)
    for layer in list(layers):
        name = _NAME.match(layer.get("name", ""))
        if name is not None and name[1] in wanted and layer.get("type") in _WEIGHTED:
            wanted.remove(name[1])
            layers.append(_conversion(layer, next_id))
            _reroute(edges, layer.get("id", ""), str(next_id))
            next_id += 1
    if wanted:
        raise RuntimeError(f"{xml_path} has no layer {min(wanted)}")
    xml_path.unlink()
    tree.write(xml_path, encoding="utf-8", xml_declaration=True)


def _conversion(layer: ET.Element, number: int) -> ET.Element:
    """Return a conversion to f32 whose input and output are as the first input of the layer."""
    conversion = ET.Element(
        "layer", id=str(number), name=f"{layer.get('name')}/input", type="Convert", version="opset1"
    )
    ET.SubElement(conversion, "data", destination_type="f32")
    first = layer.find("input/port[@id='0']")
    if first is None:
        raise RuntimeError(f"the layer {layer.get('name')} has no input")
    for name, port_id in (("input", "0"), ("output", "1")):
        port = deepcopy(first)
        port.set("id", port_id)
        port.set("precision", "FP32")
        ET.SubElement(conversion, name).append(port)
    return conversion


def _reroute(edges: ET.Element, layer_id: str, conversion_id: str) -> None:
    for edge in edges:
        if edge.get("to-layer") == layer_id and edge.get("to-port") == "0":
            edge.set("to-layer", conversion_id)
    ET.SubElement(edges, "edge", {"from-layer": conversion_id, "from-port": "1", "to-layer": layer_id, "to-port": "0"})
