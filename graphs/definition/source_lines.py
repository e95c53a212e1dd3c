"""Where in a graph.pbtxt a field was written, so that an error can name its line.

protobuf's Python parser keeps positions for syntax errors only. This is a scanner, not a parser: it runs
over text that protobuf has already accepted.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import GraphError

Step = str | tuple[str, int]
"""A field by name (its first occurrence), or the n-th occurrence of it, from 0."""

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
    """A graph.pbtxt's text, asked for lines and for errors that carry them. Without a path: defaults."""

    def __init__(self, path: Path | None = None, text: str = "") -> None:
        self.path = path
        self._fields = _scan(text)

    def line(self, *steps: Step) -> int | None:
        """Return the line of a field, counted from 1; of the nearest enclosing one where it is absent."""
        line, parent = None, _ROOT
        for step in steps:
            name, occurrence = (step, 0) if isinstance(step, str) else step
            children = [i for i, f in enumerate(self._fields) if f.parent == parent and f.name == name]
            if len(children) <= occurrence:
                break
            parent = children[occurrence]
            line = self._fields[parent].line
        return line

    def error(self, reason: str, *steps: Step) -> GraphError:
        """Make the error for a field, named by its path from the top."""
        return GraphError(reason, path=self.path, line=self.line(*steps), field=_path(steps))

    def option_error(self, reason: str, *steps: Step) -> GraphError:
        """Make the error for one of ImageGenCalculatorOptions, named by its path within these."""
        return GraphError(reason, path=self.path, line=self.line(*_OPTIONS, *steps), field=_path(steps))


def _path(steps: tuple[Step, ...]) -> str:
    return ".".join(step if isinstance(step, str) else f"{step[0]}[{step[1]}]" for step in steps)


def _scan(text: str) -> list[_Field]:
    """List every field with its line and its parent; ``[type.googleapis.com/...]`` is named ``[]``."""
    fields: list[_Field] = []
    parents = [_ROOT]
    lists: list[int] = []
    last, previous = _ROOT, ""
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
    """Return line, kind, text and the text of the token after it, without comments and space."""
    found: list[tuple[int, str, str]] = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("skip", "newline"):
            found.append((line, kind, match[0]))
        line += match[0].count("\n")
    following = [*(token for _, _, token in found[1:]), ""]
    return [(line, kind, token, after) for (line, kind, token), after in zip(found, following, strict=False)]
