"""What the README and the pages of docs/ name exists, and the changelog fits the version."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "tools" / "demo_model" / "README.md"]
TOP = ("api", "cli", "config", "graphs", "workers", "docs", "docker", "tests", "benchmarks", "tools")


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_path_it_names_exists(page: Path) -> None:
    missing = [name for name in _named_paths(page) if not (ROOT / name).exists()]
    missing += [link for link in _linked_paths(page) if not (page.parent / link).exists()]
    assert not missing


def test_the_paths_of_the_readme_are_found() -> None:
    """Not every page names paths; the README does, so a pattern that finds none there is wrong."""
    readme = ROOT / "README.md"
    assert "graphs/errors.py" in _named_paths(readme)
    assert "docs/glossary.md" in _linked_paths(readme)


def _named_paths(page: Path) -> set[str]:
    return set(re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]*)`", page.read_text()))


def _linked_paths(page: Path) -> set[str]:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    return {link for link in links if "://" not in link}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_anchor_it_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", page.read_text())
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in _anchors((page.parent / target if target else page).read_text())
    ]
    assert not missing


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_make_target_it_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for words in re.findall(r"(?:^|`)make ((?:[a-z][\w-]*(?: |$|`))+)", page.read_text(), re.MULTILINE):
        named |= set(re.findall(r"[\w-]+", words))
    assert named <= targets


def test_the_readme_names_the_targets_that_a_newcomer_needs() -> None:
    named = set(re.findall(r"make ([\w-]+)", README))
    assert {"serve", "test-fast", "test", "check", "bench", "docs"} <= named


def test_the_changelog_has_a_dated_section_for_the_version() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert re.search(rf"^## \[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)


def test_the_changelog_begins_with_what_is_unreleased_and_descends() -> None:
    sections = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", CHANGELOG, re.MULTILINE)
    assert len(sections) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE))
    assert sections[0] == ("Unreleased", "")
    versions = [tuple(map(int, version.split("."))) for version, _ in sections[1:]]
    days = [day for _, day in sections[1:]]
    assert versions == sorted(set(versions), reverse=True)
    assert all(days) and days == sorted(days, reverse=True)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_test_it_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(tests/[\w./-]+\.py)::(\w+)`", page.read_text()))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or f"\ndef {name}(" not in (ROOT / path).read_text()
    ]
    assert not missing


def test_the_readme_and_the_page_about_changes_name_the_same_files() -> None:
    def rows(text: str) -> list[tuple[str, str]]:
        table = text.partition("| to change | touch |")[2].partition("\n\n")[0].splitlines()[2:]
        return [(line.split("|")[1], line.split("|")[2]) for line in table]

    page = (ROOT / "docs" / "changing.md").read_text()
    assert rows(README) == rows(page) != []


def test_every_rule_of_an_adapter_has_a_test() -> None:
    table = [line for line in (ROOT / "docs" / "lora.md").read_text().splitlines() if "| `graphs/" in line]
    assert len(table) > 25
    assert all(re.search(r"\| `tests/\S+::\w+` \|$", line) for line in table)


def _anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as the site and GitHub write them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
