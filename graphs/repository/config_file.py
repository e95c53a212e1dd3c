"""Finds the servables that OVMS's config.json lists, among entries that are for other tasks."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from graphs.errors import ConfigurationError, RepositoryError
from graphs.operator_files import is_folder, parse_object, read_text
from graphs.repository.servables import (
    WHAT_IS_SERVABLE,
    Found,
    Servable,
    is_classic_model,
    other_task,
    servable_in,
)

log = logging.getLogger(__name__)

_LISTS = ("model_config_list", "mediapipe_config_list")
_TOP_LEVEL_KEYS = (
    *_LISTS,
    "monitoring",
    "pipeline_config_list",
    "custom_node_library_config_list",
    "custom_loader_config_list",
)


def servables_in_config(path: Path) -> Found:
    """Return the servables that OVMS's config.json lists, in its order, and the entries that cannot be served.

    Entries that are for other tasks are left out with a warning in the log. A file whose lists are empty is valid.
    Raises RepositoryError, which names the file and the entry, for a file that does not have the form of a config.json.
    """
    try:
        config = parse_object(read_text(path))
    except ValueError as error:
        raise RepositoryError(f"{path}: {error}") from None
    for key in config:
        if key not in _TOP_LEVEL_KEYS:
            raise RepositoryError(f"{path}: {key}: There is no such key; known are {', '.join(_TOP_LEVEL_KEYS)}.")
    if not any(key in config for key in _LISTS):
        reason = f"There is nothing to serve here; models are listed in {' or '.join(_LISTS)}."
        raise RepositoryError(f"{path}: {reason}")
    entries = [_model_entry(path, label, value) for label, value in _entries(path, config, "model_config_list")]
    entries += [_Entry(path, label, value) for label, value in _entries(path, config, "mediapipe_config_list")]
    found = Found([], {})
    for entry in entries:
        _add(entry, found)
    return found


def folders_in_config(path: Path) -> list[Path]:
    """Return the folders of all entries of a config.json, also of those that do not exist; none of a broken file."""
    try:
        config = parse_object(read_text(path))
        entries = [_model_entry(path, label, value) for label, value in _entries(path, config, "model_config_list")]
        entries += [_Entry(path, label, value) for label, value in _entries(path, config, "mediapipe_config_list")]
        return [entry.base_path() for entry in entries]
    except (ValueError, RepositoryError):  # reading it as a whole says why
        return []


@dataclass(frozen=True)
class _Entry:
    """One entry of config.json and its position there (``label``), which errors name."""

    path: Path
    label: str
    value: dict[str, JsonValue]

    def error(self, reason: str) -> RepositoryError:
        return RepositoryError(f"{self.path}: {self.label}: {reason}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.value.get(key, default)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.error(f"{key} must be given as text.")
        return value

    def base_path(self) -> Path:
        """Return the entry's folder, which may not exist. An empty base_path is that of none: ``./NAME``."""
        written = self.text("name") if self.value.get("base_path") == "" else self.text("base_path", self.text("name"))
        return self.path.absolute().parent / written


def _entries(path: Path, config: dict[str, JsonValue], key: str) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    entries = config.get(key, [])
    if not isinstance(entries, list):
        raise RepositoryError(f"{path}: {key}: This must be a list.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RepositoryError(f"{path}: {key}[{index}]: This must be an object.")
        yield f"{key}[{index}]", entry


def _model_entry(path: Path, label: str, value: dict[str, JsonValue]) -> _Entry:
    """Return the inner entry of one of model_config_list: ``{"config": {"name", "base_path"}}``."""
    inner = value.get("config")
    if not isinstance(inner, dict):
        reason = 'This must be of the form {"config": {"name": ..., "base_path": ...}}.'
        raise _Entry(path, label, value).error(reason)
    entry = _Entry(path, f"{label}.config", inner)
    entry.text("name")
    entry.text("base_path")
    return entry


def _add(entry: _Entry, found: Found) -> None:
    """Add the entry to what is served or to what cannot be served, or leave it out with a warning."""
    name = entry.text("name")
    graph_path = entry.text("graph_path") if "graph_path" in entry.value else None
    folder = entry.base_path()
    if "subconfig" in entry.value:
        log.warning("%s: %s: subconfig is ignored: this server runs no classic models.", entry.path, entry.label)
    try:
        servable = _servable(entry, name, folder, graph_path)
    except ConfigurationError as error:
        found.failed[name] = error
        return
    if servable is None:
        reason = "is a classic model, which this server does not run"
    elif task := other_task(servable):
        reason = f"is a graph of {task}, which this server does not run"
    else:
        found.servables.append(servable)
        return
    log.warning("%s: %s: %r %s; it is left out.", entry.path, entry.label, name, reason)


def _servable(entry: _Entry, name: str, folder: Path, graph_path: str | None) -> Servable | None:
    """Return the entry's servable, None for a classic model.

    As in OVMS, a relative ``graph_path`` starts from the base path, and the graph's own paths do as well, wherever the
    graph is (``MediapipeGraphConfig::parseNode``).
    """
    if graph_path is not None and Path(graph_path).is_absolute():
        return Servable(name, folder, Path(graph_path))
    if not is_folder(folder):
        raise entry.error(f"base_path: {folder} is not a folder.")
    if graph_path is not None:
        return Servable(name, folder, folder / graph_path)
    servable = servable_in(folder, name)
    if servable is None and not is_classic_model(folder):
        raise entry.error(f"base_path: {folder} is not servable; it must be {WHAT_IS_SERVABLE}.")
    return servable
