"""Finds the line of a graph.pbtxt on which a field was written, so that an error can name it.

The Python parser of protobuf has positions for syntax errors only. This is a scanner, not a parser: it runs
on text that protobuf has already accepted.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import GraphError

Step = str | tuple[str, int]
"""A field by name, which means its first occurrence, or its name and the number of an occurrence from 0."""

_OPTIONS = ("node", "node_options", "[]")

_TOKEN = re.compile(
    r"""(?P<skip>\#[^\n]*|[^\S\n]+)
      | (?P<newline>\n)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<name>[A-Za-z_]\w*|\[\s*[A-Za-z][\w./\s-]*\](?=\s*[:{<]))
      | (?P<number>[\w.+-]+)
      | (?P<mark>.)""",
    re.VERBOSE,
)
_ROOT = -1


@dataclass(frozen=True)
class _Field:
    name: str
    line: int
    parent: int


class Source:
    """The text of a graph.pbtxt, which finds the lines of fields and makes errors that name them.

    Without a path and a text, the errors name the field only.
    """

    def __init__(self, path: Path | None = None, text: str = "") -> None:
        self.path = path
        self._fields = _scan(text)

    def line(self, *steps: Step) -> int | None:
        """Return the line of a field, counted from 1; if the field is absent, that of the nearest enclosing field."""
        line = None
        parent = _ROOT
        for step in steps:
            name, occurrence = (step, 0) if isinstance(step, str) else step
            children = [i for i, f in enumerate(self._fields) if f.parent == parent and f.name == name]
            if len(children) <= occurrence:
                break
            parent = children[occurrence]
            line = self._fields[parent].line
        return line

    def error(self, reason: str, *steps: Step) -> GraphError:
        """Return the error for a field, which it names by its path from the top."""
        return GraphError(reason, path=self.path, line=self.line(*steps), field=_path(steps))

    def option_error(self, reason: str, *steps: Step) -> GraphError:
        """Return the error for a field of ImageGenCalculatorOptions, which it names by its path within these."""
        return GraphError(reason, path=self.path, line=self.line(*_OPTIONS, *steps), field=_path(steps))

    def check_option(self, ok: bool, reason: str, *steps: Step) -> None:
        """Raise the error for a field of ImageGenCalculatorOptions unless ``ok``."""
        if not ok:
            raise self.option_error(reason, *steps)


def _path(steps: tuple[Step, ...]) -> str:
    return ".".join(step if isinstance(step, str) else f"{step[0]}[{step[1]}]" for step in steps)


def _scan(text: str) -> list[_Field]:
    """Return every field with its line and its parent; ``[type.googleapis.com/...]`` is named ``[]``."""
    fields: list[_Field] = []
    parents = [_ROOT]
    lists: list[int] = []
    last = _ROOT
    previous = ""
    for line, kind, word, following in _tokens(text):
        if kind == "name" and following in (":", "{", "<", "["):
            fields.append(_Field("[]" if word.startswith("[") else word, line, parents[-1]))
            last = len(fields) - 1
        elif kind == "mark" and word in "{<":
            if previous == "," and lists:  # the next message of a list: name: [{...}, {...}]
                fields.append(_Field(fields[lists[-1]].name, line, parents[-1]))
                last = len(fields) - 1
            parents.append(last)
        elif kind == "mark" and word in "}>" and len(parents) > 1:
            parents.pop()
        elif kind == "mark" and word == "[":
            lists.append(last)
        elif kind == "mark" and word == "]" and lists:
            lists.pop()
        previous = word
    return fields


def _tokens(text: str) -> list[tuple[int, str, str, str]]:
    """Return the line, kind and text of each token and the text of the next one, without comments and spaces."""
    found: list[tuple[int, str, str]] = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("skip", "newline"):
            found.append((line, kind, match[0]))
        line += match[0].count("\n")
    following = [*(token for _, _, token in found[1:]), ""]
    return [(line, kind, token, after) for (line, kind, token), after in zip(found, following, strict=False)]
