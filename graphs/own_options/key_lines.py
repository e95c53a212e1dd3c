"""Finds the line of a TOML text on which a key was written, so that an error can name it.

``tomllib`` has positions for syntax errors only. Each statement of a TOML text, a header or a key with its value, is a
text of TOML by itself: it ends with the first line up to which it can be parsed (TOML 1.0.0, https://toml.io/en/v1.0.0:
there is nothing but statements, and each ends with a line).
"""

import tomllib
from collections.abc import Iterator
from typing import Any

Key = tuple[str, ...]

# A value of more lines, a very long list, has no line here, and what follows it neither: each line is parsed again with
# those before it.
_LONGEST_STATEMENT = 200


def key_lines(text: str) -> dict[Key, int]:
    """Return the line, counted from 1, of each key and table of a text that ``tomllib`` has accepted.

    A key is given by its path from the top: ``("model_aliases", "gpt-image-1")``.
    """
    found: dict[Key, int] = {}
    table: Key = ()
    for line, statement, value in _statements(text):
        is_header = statement.lstrip().startswith("[")
        paths = list(_paths(value))
        if is_header:
            table = max(paths, key=len)
        for path in paths:
            found.setdefault(path if is_header else table + path, line)
    return found


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the first line of each statement, its text, and what it says by itself."""
    lines = [f"{line}\n" for line in text.replace("\r\n", "\n").split("\n")]
    begin = 0
    while begin < len(lines):
        for end in range(begin + 1, min(len(lines), begin + _LONGEST_STATEMENT) + 1):
            statement = "".join(lines[begin:end])
            try:
                value = tomllib.loads(statement)
            except tomllib.TOMLDecodeError:
                continue
            break
        else:
            return
        if value:
            yield begin + 1, statement, value
        begin = end


def _paths(value: Any, path: Key = ()) -> Iterator[Key]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
