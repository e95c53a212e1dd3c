"""Reads an imagegen.toml."""

import difflib
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from graphs.errors import RepositoryError
from graphs.operator_files import read_text
from graphs.own_options.key_lines import Key, key_lines
from graphs.own_options.schema import FileOptions, form_of

OPTIONS_FILE = "imagegen.toml"
_LARGEST = 64 * 1024
_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class OptionsFile:
    """The options that an imagegen.toml holds, and the lines on which they are written."""

    path: Path
    options: FileOptions
    lines: dict[Key, int]

    def place(self, *key: str) -> str:
        """Return where a key is written: ``FILE:LINE``."""
        return _place(self.path, self.lines, key)

    def error(self, reason: str, *key: str) -> RepositoryError:
        """Return the error for a key, which it names with file and line."""
        return RepositoryError(f"{self.place(*key)}: {'.'.join(key)}: {reason}")


def options_file_in(folder: Path) -> Path | None:
    """Return the imagegen.toml of a folder, None if it has none."""
    path = folder.absolute() / OPTIONS_FILE
    return path if os.path.lexists(path) else None  # a folder or a dead link of this name is an error, not ignored


def read_options_file(path: Path) -> OptionsFile:
    """Read an imagegen.toml. Raises RepositoryError, which names file, line and key."""
    content, text = _parsed(path)
    lines = key_lines(text)
    try:
        return OptionsFile(path, FileOptions.model_validate(content), lines)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
    key = tuple(str(part) for part in wrong["loc"])
    where = f"{_place(path, lines, key)}: {'.'.join(part[:_LONGEST_SHOWN] for part in key)}"
    raise RepositoryError(f"{where}: {_reason(key, wrong['type'], wrong['input'])}")


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = read_text(path)
        if len(text) > _LARGEST:
            raise RepositoryError(f"{path}: The file is larger than {_LARGEST // 1024} KiB, which no options need.")
        return tomllib.loads(text), text
    except RecursionError:
        raise RepositoryError(f"{path}: This TOML is nested too deeply.") from None
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        last = text.rstrip("\n").count("\n") + 1
        line = position["line"] if position and position["line"] else last
        sentence = _POSITION.sub("", str(error))
        raise RepositoryError(f"{path}:{line}: This is not TOML: {sentence}.") from None
    except ValueError as error:
        raise RepositoryError(f"{path}: {error}") from None


def _place(path: Path, lines: dict[Key, int], key: Key) -> str:
    """Return file and line of a key; where its own line is not known, that of the table or list that holds it."""
    known = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
    return str(path) if known is None else f"{path}:{known}"


def _reason(key: Key, kind: str, value: object) -> str:
    names = list(FileOptions.model_fields)
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key[0], names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}."
        return f"There is no such option; {hint}"
    near = difflib.get_close_matches(value, _words(key[0]), n=1, cutoff=0.5) if isinstance(value, str) else []
    hint = f' Did you mean "{near[0]}"?' if near else ""
    if len(key) > 1 and isinstance(value, dict):  # gpt-image-1.5 = "demo" is a table to TOML
        hint = ' A name with a dot needs quotation marks: "gpt-image-1.5" = "demo".'
    return f"{_shown(value)} cannot be used here; write {form_of(key[0])}.{hint}"


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:_LONGEST_SHOWN]


def _words(key: str) -> list[str]:
    """Return the words that a key may have as its value."""
    annotation = FileOptions.model_fields[key].annotation
    kinds = [annotation, *get_args(annotation)]
    return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
