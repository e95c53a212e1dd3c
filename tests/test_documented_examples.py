"""The commands, programs and texts in the README and the pages of docs/ are at least well-formed."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from graphs.adapters.sources import parse_source_loras
from graphs.own_options.schema import FileOptions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
# Written from the code; the usage lines there are no commands.
COMMANDS = [page for page in PAGES if page.name not in ("cli.md", "measurements.md", "decisions.md")]


def _blocks(page: Path, *kinds: str) -> list[str]:
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [text for kind, text in fence.findall(page.read_text()) if kind in kinds]


def _lines(page: Path) -> Iterator[str]:
    """Yield the lines of a page's code, those that end in a backslash with the next; of NAME=$(COMMAND) the command."""
    text = re.sub(r"^( *)\w+=\$\(([^)\n]*)\)", r"\1\2", page.read_text().replace("\\\n", " "), flags=re.MULTILINE)
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    fenced = [line for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    yield from dict.fromkeys(line.strip() for line in (*indented, *fenced))


def _commands(page: Path) -> list[list[str]]:
    found = [shlex.split(line, comments=True) for line in _lines(page) if re.match(r"(\S*/)?imagegen [a-z]", line)]
    ends = [next((at for at, word in enumerate(words) if word in ("&", "|", ">", "&&", ";")), None) for words in found]
    return [words[1:end] for words, end in zip(found, ends, strict=True)]


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: str(page.name))
def test_every_command_has_options_that_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    for words in _commands(page):
        command, rest = group, words
        while isinstance(command, TyperGroup):
            name, found, rest = command.resolve_command(
                command.make_context("imagegen", [], resilient_parsing=True), rest
            )
            assert found is not None, words
            command = found
        command.make_context(name or "", list(rest))


def test_the_commands_of_the_readme_are_found() -> None:
    assert len([words for page in COMMANDS for words in _commands(page)]) > 15


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_list_of_adapters_can_be_read(page: Path) -> None:
    for text in re.findall(r'--source_loras[ =]"([^"]*)"', page.read_text()):
        parse_source_loras(text)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_programs_and_json_can_be_read(page: Path) -> None:
    for text in _blocks(page, "python"):
        ast.parse(text)
    for text in _blocks(page, "json"):
        json.loads(text)
    for text in _blocks(page, "toml"):
        FileOptions.model_validate(tomllib.loads(text))
