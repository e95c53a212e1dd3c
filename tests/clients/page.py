"""Writes docs/clients.md's recipes from the scripts, and its tables from a run. `python -m tests.clients.page`."""

import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.clients.clients import EVERY_CLIENT, STEPS, Client
from tests.clients.running import ROOT, SCRIPTS

PAGE = ROOT / "docs" / "clients.md"
_RECIPE = re.compile(r"(<!-- recipe: (?P<file>\S+) -->\n)```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
_REGION = re.compile(r"^[ \t]*(?:#|//) recipe begins\n(.*?)^[ \t]*(?:#|//) recipe ends$", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".mjs": "js", ".py": "python", ".env": "sh"}


def recipe(file: str) -> str:
    """Return what a page shows of a script: its marked parts, or all of it."""
    text = (SCRIPTS / file).read_text()
    parts = _REGION.findall(text) or [text]
    return "\n".join(textwrap.dedent(part).strip("\n") + "\n" for part in parts)


def with_recipes(page: str) -> str:
    """Return the text of a page with each recipe as its script has it."""

    def filled(found: re.Match[str]) -> str:
        file = found["file"]
        suffix = Path(file).suffix
        return f"{found[1]}```{_LANGUAGES.get(suffix, suffix[1:])}\n{recipe(file)}```"

    return _RECIPE.sub(filled, page)


def row(client: Client, version: str, day: str) -> str:
    """Return the row of a client that has been run."""
    cells = ["yes" if step in client.steps else "–" for step in STEPS]
    return f"| {client.name} | {version} | {day} | {' | '.join(cells)} |"


def with_rows(page: str, rows: Mapping[str, str]) -> str:
    """Return the text of a page with these rows, by the name of their client, in its table of runs."""

    def table(old: str) -> str:
        kept = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("|")}
        merged = {**kept, **rows}
        head = f"| client | version | last run | {' | '.join(STEPS)} |\n|{'---|' * (len(STEPS) + 3)}"
        return "\n".join([head, *(merged[client.name] for client in EVERY_CLIENT if client.name in merged)])

    return _between(page, "runs", table)


def with_limits(page: str) -> str:
    """Return the text of a page with the table of what clients themselves cannot do."""
    limits: dict[tuple[str, str], list[str]] = {}
    for client in EVERY_CLIENT:
        for step, why in client.cannot.items():
            limits.setdefault((client.name, why), []).append(step)
    lines = [f"| {name} | {', '.join(steps)} | {why} |" for (name, why), steps in limits.items()]
    return _between(page, "limits", lambda _: "\n".join(["| client | without | why |", "|---|---|---|", *lines]))


def _between(page: str, name: str, new: Callable[[str], str]) -> str:
    start, end = f"<!-- {name} begin -->\n", f"\n<!-- {name} end -->"
    before, _, rest = page.partition(start)
    old, found, after = rest.partition(end)
    assert found, f"docs/clients.md has no place for its table of {name}"
    return before + start + new(old) + end + after


def main() -> None:
    """Write the recipes and the limits; a run of the clients writes the table of runs."""
    PAGE.write_text(with_limits(with_recipes(PAGE.read_text())))


if __name__ == "__main__":
    main()
