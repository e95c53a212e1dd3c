"""Files that operators write: whether a path exists, the text of a small file, and strict JSON."""

import json
import math
import os
from pathlib import Path

from pydantic import JsonValue

_LARGEST = 1024 * 1024


def is_file(path: Path) -> bool:
    """Return whether the file exists; a path that cannot be examined counts as absent."""
    try:
        return path.is_file()
    except OSError:  # the folder cannot be read, or no file system accepts the name
        return False


def is_folder(path: Path) -> bool:
    """Return whether the folder exists; a path that cannot be examined counts as absent."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, with or without a byte order mark.

    Raises ValueError with a sentence if it is missing or no file, larger than 1 MiB or not UTF-8.
    """
    if not is_file(path):
        other = "; what has this name is a folder, a device or a dead link" if os.path.lexists(path) else ""
        raise ValueError(f"There is no such file{other}.")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(f"The file cannot be read: {error.strerror}.") from None
    if len(content) > _LARGEST:
        raise ValueError("The file is larger than 1 MiB, which no definition needs.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"The file is not UTF-8 text: see line {line}.") from None


def parse_object(text: str) -> dict[str, JsonValue]:
    """Read a JSON object.

    Raises ValueError with a sentence for everything else, and for what Python's parser accepts beyond the standard:
    duplicate keys, NaN and infinity.
    """
    try:
        value: JsonValue = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("This JSON is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"This is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ValueError("This is JSON, but not an object: it must be of the form {...}.")
    return value


def _without_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice")
        found[key] = value
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value
