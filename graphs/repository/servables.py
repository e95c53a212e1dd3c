"""Finds servables: in a folder, or below a models directory."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphs.definition.calculator_graph import CALCULATOR
from graphs.errors import ConfigurationError, RepositoryError
from graphs.operator_files import is_file, is_folder, read_text

log = logging.getLogger(__name__)

GRAPH_FILE = "graph.pbtxt"
MODEL_INDEX = "model_index.json"
WHAT_IS_SERVABLE = f"a folder with a {GRAPH_FILE}, or with the {MODEL_INDEX} of an OpenVINO image model"
_DEEPEST = 8
_NETWORK_SUFFIXES = (".xml", ".onnx", ".pdmodel", ".pb", ".tflite")
_CALCULATOR = re.compile(r"""\bcalculator\s*:\s*["']([^"'\n]*)["']""")
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class Servable:
    """A model that can be served under a name: a graph.pbtxt (``graph_path``), or a models directory with defaults."""

    name: str
    folder: Path
    graph_path: Path | None


@dataclass(frozen=True)
class Found:
    """What was found in one place: the servables, and what was to be served and cannot be, by name."""

    servables: list[Servable]
    failed: dict[str, ConfigurationError]


def servable_in(folder: Path, name: str | None = None) -> Servable | None:
    """Return the folder's servable, None if the folder has neither a graph.pbtxt nor a model_index.json.

    Without a name, it has the folder's name as written: that of a symbolic link, not of its target.
    """
    if name is None:
        name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    if is_file(folder / GRAPH_FILE):
        return Servable(name, folder, folder / GRAPH_FILE)
    return Servable(name, folder, None) if is_file(folder / MODEL_INDEX) else None


def servables_below(root: Path) -> list[Servable]:
    """Return the servables in the folders below ``root``, named by their path with ``/``.

    Graphs of other tasks are left out with a warning in the log. Hidden folders are ignored and symbolic links
    followed; folders inside a servable are not searched.
    Raises RepositoryError if ``root`` cannot be read.
    """
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise RepositoryError(f"{root}: The folder cannot be read: {error.strerror}.") from None
    return [found for found in _below(root, root, ancestors=(root.resolve(),)) if not _is_left_out(found)]


def _is_left_out(servable: Servable) -> bool:
    task = other_task(servable)
    if task is not None:
        log.warning("%s is a graph of %s, which this server does not run; it is left out.", servable.graph_path, task)
    return task is not None


def _below(root: Path, folder: Path, ancestors: tuple[Path, ...]) -> Iterator[Servable]:
    for child in _folders(folder):
        found = servable_in(child, child.relative_to(root).as_posix())
        real = child.resolve()
        if found is not None:
            yield found
        elif real not in ancestors and len(ancestors) < _DEEPEST:  # a link to a parent folder would never end
            yield from _below(root, child, (*ancestors, real))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith(".") and is_folder(child))
    except OSError:  # for example lost+found, which only root may read
        return []


def other_task(servable: Servable) -> str | None:
    """Return the calculator of a graph.pbtxt that has only others than that for images, None for any other servable."""
    if servable.graph_path is None:
        return None
    try:
        text = read_text(servable.graph_path)
    except ValueError:  # reading the graph itself says so
        return None
    calculators = _CALCULATOR.findall(_COMMENT.sub("", text))
    return calculators[0] if calculators and CALCULATOR not in calculators else None


def is_classic_model(folder: Path) -> bool:
    """Return whether the folder is a classic model of OVMS, which holds networks or folders named by version."""
    versions = [child for child in _folders(folder) if child.name.isdecimal()]
    return bool(versions) or any(_has_network(place) for place in (folder, *versions))


def _has_network(folder: Path) -> bool:
    try:
        return any(child.suffix in _NETWORK_SUFFIXES for child in folder.iterdir())
    except OSError:
        return False
