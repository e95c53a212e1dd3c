"""Finds servables: in a folder, below a models directory, or in OVMS's config.json."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from graphs.errors import RepositoryError
from graphs.operator_files import is_file, is_folder, parse_object, read_text

GRAPH_FILE = "graph.pbtxt"
MODEL_INDEX = "model_index.json"
WHAT_IS_SERVABLE = f"a folder with a {GRAPH_FILE}, or with the {MODEL_INDEX} of an OpenVINO image model"
_DEEPEST = 8
_TOP_LEVEL_KEYS = (
    "model_config_list",
    "mediapipe_config_list",
    "monitoring",
    "pipeline_config_list",
    "custom_node_library_config_list",
    "custom_loader_config_list",
)


@dataclass(frozen=True)
class Servable:
    """A model that can be served under a name: a graph.pbtxt (``graph_path``), or a models directory with defaults."""

    name: str
    folder: Path
    graph_path: Path | None


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

    Hidden folders are ignored and symbolic links followed; folders inside a servable are not searched.
    Raises RepositoryError if ``root`` cannot be read.
    """
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise RepositoryError(f"{root}: The folder cannot be read: {error.strerror}.") from None
    return list(_below(root, root, ancestors=(root.resolve(),)))


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


def servables_in_config(path: Path) -> list[Servable]:
    """Return the servables that OVMS's config.json lists, in its order.

    Raises RepositoryError, which names the file and the entry.
    """
    try:
        config = parse_object(read_text(path))
    except ValueError as error:
        raise RepositoryError(f"{path}: {error}") from None
    for key in config:
        if key not in _TOP_LEVEL_KEYS:
            raise RepositoryError(f"{path}: {key}: There is no such key; known are {', '.join(_TOP_LEVEL_KEYS)}.")
    models = [_model(_Entry(path, label, entry)) for label, entry in _entries(path, config, "model_config_list")]
    graphs = [_graph(_Entry(path, label, e)) for label, e in _entries(path, config, "mediapipe_config_list")]
    return models + graphs


@dataclass(frozen=True)
class _Entry:
    """One entry of config.json and its position there (``label``), which errors name."""

    path: Path
    label: str
    value: JsonValue

    def error(self, reason: str) -> RepositoryError:
        return RepositoryError(f"{self.path}: {self.label}: {reason}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.value.get(key, default) if isinstance(self.value, dict) else None
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.error(f"{key} must be given as text.")
        return value

    def folder(self, text: str) -> Path:
        folder = self.path.absolute().parent / text
        if not is_folder(folder):
            raise self.error(f"base_path: {folder} is not a folder.")
        return folder


def _entries(path: Path, config: dict[str, JsonValue], key: str) -> Iterator[tuple[str, JsonValue]]:
    entries = config.get(key, [])
    if not isinstance(entries, list):
        raise RepositoryError(f"{path}: {key}: This must be a list.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RepositoryError(f"{path}: {key}[{index}]: This must be an object.")
        yield f"{key}[{index}]", entry


def _model(entry: _Entry) -> Servable:
    """Return the servable of an entry of model_config_list: ``{"config": {"name", "base_path"}}``."""
    inner = entry.value.get("config") if isinstance(entry.value, dict) else None
    if not isinstance(inner, dict):
        raise entry.error('This must be of the form {"config": {"name": ..., "base_path": ...}}.')
    entry = _Entry(entry.path, f"{entry.label}.config", inner)
    return _existing(entry, entry.text("name"), entry.folder(entry.text("base_path")))


def _graph(entry: _Entry) -> Servable:
    """Return the servable of an entry of mediapipe_config_list: ``{"name", "base_path"?, "graph_path"?}``."""
    name = entry.text("name")
    folder = entry.folder(entry.text("base_path", default=name))
    graph_path = entry.text("graph_path", default=GRAPH_FILE)
    if isinstance(entry.value, dict) and "graph_path" in entry.value:
        return Servable(name, folder, folder / graph_path)
    return _existing(entry, name, folder)


def _existing(entry: _Entry, name: str, folder: Path) -> Servable:
    found = servable_in(folder, name)
    if found is None:
        raise entry.error(f"base_path: {folder} is not servable; it must be {WHAT_IS_SERVABLE}.")
    return found
