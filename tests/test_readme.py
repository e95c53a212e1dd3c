"""What the README names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = ("api", "cli", "config", "graphs", "workers", "docs", "docker", "tests", "benchmarks")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_it_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]*)`", text))
    linked = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (page.parent / link).exists()]
    assert (named or linked) and not missing


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([\w-]+)", README, re.MULTILINE))
    assert {"serve", "test", "check", "bench"} <= named <= targets


def test_the_changelog_and_the_version_agree() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert version and ("[Unreleased]" in changelog or f"[{version[1]}]" in changelog)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_it_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", page.read_text()))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or f"\ndef {name}(" not in (ROOT / path).read_text()
    ]
    assert not missing


def test_every_rule_of_an_adapter_has_a_test() -> None:
    table = [line for line in (ROOT / "docs" / "lora.md").read_text().splitlines() if "| `graphs/" in line]
    assert len(table) > 25
    assert all(re.search(r"\| `tests/\S+::\w+` \|$", line) for line in table)
