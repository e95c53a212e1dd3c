"""The blocks of code in README.md and docs/, each with what its page says of how it is tested.

A block is run by test_blocks.py, word for word but for the address and the folders, unless a comment stands before it:

- ``<!-- not run: REASON. -->``: it cannot be run here, for this reason;
- ``<!-- run by tests/PATH.py::NAME -->``: that test runs it, or the same with other names;
- ``<!-- recipe: FILE -->``: it is written from that script, which ``make test-clients`` runs;
- ``<!-- blocks run by tests/PATH.py::NAME -->``, once for a page: that test covers all of its blocks.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
RUN_BY = re.compile(r"<!-- (?:blocks )?run by (tests/\S+\.py)::(\w+) -->")
RECIPE = re.compile(r"<!-- recipe: (\S+) -->")
# The kinds that test_blocks.py can run.
RUNNABLE = ("sh", "python", "json", "yaml", "toml", "pbtxt")
_FENCE = re.compile(r"^ *```(\w*)$")
_INDENTED = re.compile(r"^ {4}\S")
_LIST = re.compile(r"^ *([-*]|\d+\.) ")


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the line on which it begins, its kind ('' without one), its text and its mark."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, fenced or indented, in their order."""
    lines = page.read_text().splitlines()
    whole = next((line for line in lines if line.startswith("<!-- blocks run by ")), "")
    found: list[Block] = []
    number = 0
    in_list = False
    while number < len(lines):
        start, fence = number, _FENCE.match(lines[number])
        in_list = bool(_LIST.match(lines[number])) or (in_list and (not lines[number] or lines[number][0] == " "))
        if fence:
            number += 1
            while lines[number].strip() != "```":
                number += 1
            kind, body = fence[1], lines[start + 1 : number]
        elif _INDENTED.match(lines[number]) and not in_list and not lines[number - 1].strip():
            while number + 1 < len(lines) and (lines[number + 1].startswith("    ") or not lines[number + 1].strip()):
                number += 1
            kind, body = "", lines[start : number + 1]
        else:
            number += 1
            continue
        text = textwrap.dedent("\n".join(body)).strip("\n") + "\n"
        found.append(Block(page, start + 1, kind, text, _mark(lines, start) or whole))
        number += 1
    return found


def _mark(lines: list[str], start: int) -> str:
    """Return the comments directly before a line, with empty lines between them left out."""
    comments: list[str] = []
    for line in reversed(lines[:start]):
        if line.strip().startswith("<!-- ") and line.strip().endswith(" -->"):
            comments.append(line.strip())
        elif line.strip():
            break
    return "\n".join(comments)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
