"""Changes the list of models in a config.json of OpenVINO Model Server."""

import json
import os
from pathlib import Path

from pydantic import JsonValue

from cli.errors import UserError
from graphs.operator_files import is_file, parse_object, read_text
from graphs.repository.servables import WHAT_IS_SERVABLE, servable_in

_MODELS = "model_config_list"
_GRAPHS = "mediapipe_config_list"
_CONFIG_NAME = "config.json"


def config_file(path: Path) -> Path:
    """Return the config.json that a path names: the file itself, or the one in a folder. It may not exist."""
    path = path.expanduser().absolute()
    return path / _CONFIG_NAME if path.is_dir() else path


def add_entry(file: Path, name: str, folder: Path) -> bool:
    """List a model's folder under a name, as Model Server does: in ``model_config_list``, with its ``base_path``.

    A file that is not there is made. Returns False, and changes nothing, where the entry is there already.
    Raises UserError for a folder that cannot be served, a name that is taken, and a file that cannot be used.
    """
    if servable_in(folder) is None:
        raise UserError(f"{folder} cannot be added; it must be {WHAT_IS_SERVABLE}.")
    config: dict[str, JsonValue] = _read(file) if os.path.lexists(file) else {_GRAPHS: [], _MODELS: []}
    for key in (_MODELS, _GRAPHS):
        for entry in _entries(file, config, key):
            if _name(entry, key) != name:
                continue
            if (file.parent / _base_path(entry, key, name)).resolve() == folder.resolve():
                return False
            raise UserError(
                f"{file} has {name} already, for another folder; remove it first: "
                f"`imagegen models remove {name} --config_path {file}`."
            )
    listed = _entries(file, config, _MODELS)
    config[_MODELS] = [*listed, {"config": {"name": name, "base_path": _written(folder, file)}}]
    _write(file, config)
    return True


def remove_entry(file: Path, name: str) -> None:
    """Remove the entry with a name from the lists of a config.json. Raises UserError where there is none."""
    config = _read(file)
    is_found = False
    for key in (_MODELS, _GRAPHS):
        entries = _entries(file, config, key)
        kept = [entry for entry in entries if _name(entry, key) != name]
        if len(kept) < len(entries):
            config[key] = kept
            is_found = True
    if not is_found:
        raise UserError(f"{file} has no model {name}; `imagegen models list --config_path {file}` prints its models.")
    _write(file, config)


def _read(file: Path) -> dict[str, JsonValue]:
    try:
        return parse_object(read_text(file))
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None


def _entries(file: Path, config: dict[str, JsonValue], key: str) -> list[JsonValue]:
    entries = config.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f"{file}: {key}: This must be a list.")
    return entries


def _inner(entry: JsonValue, key: str) -> dict[str, JsonValue]:
    """Return the object with an entry's name; in ``model_config_list`` it is inside ``config``."""
    inner = entry.get("config") if key == _MODELS and isinstance(entry, dict) else entry
    return inner if isinstance(inner, dict) else {}


def _name(entry: JsonValue, key: str) -> JsonValue:
    return _inner(entry, key).get("name")


def _base_path(entry: JsonValue, key: str, name: str) -> str:
    """Return an entry's folder as written; without one it is the entry's name."""
    return str(_inner(entry, key).get("base_path") or name)


def _written(folder: Path, file: Path) -> str:
    """Return a model's folder as it is written: from the file's own folder if it is below it, so both can move."""
    return str(folder.relative_to(file.parent)) if folder.is_relative_to(file.parent) else str(folder)


def _write(file: Path, config: dict[str, JsonValue]) -> None:
    """Replace the file at once, so that a server that reads it meanwhile finds it whole."""
    target = file.resolve()  # a symbolic link stays one
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(config, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
        if is_file(target):
            part.chmod(target.stat().st_mode & 0o7777)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
