"""Reads what an OpenVINO network's file says of its inputs, its outputs and its weights, without loading it.

The form of the XML is that of OpenVINO's IR, version 11 ("OpenVINO IR format" in its documentation): inputs are layers
of the type Parameter, outputs of the type Result, and each Const names its place in the file of weights.
"""

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from graphs.errors import RepositoryError

Dimensions = tuple[int | None, ...]
"""The sides of a tensor; None is one that is not fixed."""

# net, layers, layer: what is deeper belongs to a network inside a layer.
_LAYER_DEPTH = 3


@dataclass(frozen=True)
class NetworkInput:
    """An input of a network: its names, its element type and its dimensions."""

    names: frozenset[str]
    element_type: str
    dimensions: Dimensions


@dataclass
class NetworkFile:
    """What the XML of a network says. ``weights_bytes`` is the length that the file of its weights must have."""

    path: Path
    inputs: list[NetworkInput] = field(default_factory=list)
    outputs: list[Dimensions] = field(default_factory=list)
    weights_bytes: int = 0

    def input(self, *names: str) -> Dimensions | None:
        """Return the dimensions of the first input that has one of these names, None without one."""
        return next((one.dimensions for one in self.inputs if one.names & set(names)), None)


def read_network(path: Path) -> NetworkFile:
    """Read a network's XML, and check that its weights are whole. Raises RepositoryError."""
    network = NetworkFile(path)
    try:
        _read(path, network)
    except (ElementTree.ParseError, ValueError) as error:
        raise RepositoryError(f"{path}: This is no whole OpenVINO network ({error}). Copy the model again.") from error
    except OSError as error:
        raise RepositoryError(f"{path}: The file cannot be read: {error.strerror or error}.") from error
    _check_weights(network)
    return network


def _read(path: Path, network: NetworkFile) -> None:
    depth = 0
    # The file is the operator's own, and expat bounds how far entities grow.
    for event, element in ElementTree.iterparse(path, events=("start", "end")):  # noqa: S314
        if event == "start":
            depth += 1
            continue
        if element.tag == "layer":
            _add(element, network, is_outer=depth == _LAYER_DEPTH)
            if depth == _LAYER_DEPTH:
                element.clear()
        depth -= 1


def _add(layer: ElementTree.Element, network: NetworkFile, *, is_outer: bool) -> None:
    kind = layer.get("type")
    data = layer.find("data")
    if kind == "Const" and data is not None:
        end = int(data.get("offset", 0)) + int(data.get("size", 0))
        network.weights_bytes = max(network.weights_bytes, end)
    elif kind == "Parameter" and is_outer and data is not None:
        port = layer.find("output/port")
        names = layer.get("name", "") + "," + ("" if port is None else port.get("names", ""))
        dimensions = tuple(_side(text) for text in data.get("shape", "").split(",") if text)
        network.inputs.append(NetworkInput(frozenset(names.split(",")), data.get("element_type", ""), dimensions))
    elif kind == "Result" and is_outer:
        network.outputs.append(tuple(_side(dim.text or "") for dim in layer.findall("input/port/dim")))


def _side(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _check_weights(network: NetworkFile) -> None:
    path = network.path.with_suffix(".bin")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise RepositoryError(f"{path}: The file cannot be read: {error.strerror or error}.") from error
    if size < network.weights_bytes:
        raise RepositoryError(
            f"{path}: The file has {size} bytes, and {network.path.name} wants {network.weights_bytes}. It was not "
            "copied whole: copy it again (with Git, `git lfs pull`)."
        )
