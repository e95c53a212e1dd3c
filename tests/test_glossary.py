"""docs/glossary.md has every public class and every package; the text of the project names its subjects."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "cli", "config", "graphs", "workers")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
# The standard words for them: "a client gets", "every process that", "any", "no process", "parameter", "attempt 0".
HIDDEN_SUBJECTS = re.compile(
    r"(?<![a-z])(told|whoever|whatever|nobody|wish|wishes|goodbye|farewell|how-manieth)(?![a-z])", re.IGNORECASE
)
FOLDERS = (*PACKAGES, "benchmarks", "docs", "tests", "tools", ".github")
EXCEPT = {Path(__file__)}  # it has the list itself


def _texts(suffix: str) -> list[Path]:
    """Return the project's files with a suffix; environments, caches and builds are in other folders."""
    inside = [path for top in FOLDERS for path in (ROOT / top).rglob(f"*.{suffix}")]
    return sorted({*ROOT.glob(f"*.{suffix}"), *inside} - EXCEPT)


def _public_classes() -> Counter[str]:
    modules = [path for top in PACKAGES for path in (ROOT / top).rglob("*.py") if not path.stem.endswith("_pb2")]
    statements = [statement for path in modules for statement in ast.parse(path.read_text()).body]
    classes = [node.name for node in statements if isinstance(node, ast.ClassDef)]
    return Counter(name for name in classes if not name.startswith("_"))


def _packages() -> set[str]:
    folders = [path.parent for top in PACKAGES for path in (ROOT / top).rglob("__init__.py")]
    return {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def _first_column() -> set[str]:
    return set(re.findall(r"^\| `([\w.]+)` \|", GLOSSARY, re.MULTILINE))


def _last_column() -> Counter[str]:
    rows = re.findall(r"^\| [^`|]+ \|.*\| ([^|]*) \|$", GLOSSARY, re.MULTILINE)
    return Counter(name for row in rows for name in re.findall(r"`(\w+)`", row))


def test_every_public_class_is_in_the_glossary_once_and_every_class_in_it_exists() -> None:
    assert _last_column() == _public_classes()


def test_every_package_is_in_the_glossary_and_every_package_in_it_exists() -> None:
    assert _first_column() == _packages()


def test_the_words_of_the_readme_are_in_the_glossary() -> None:
    words = re.findall(r"\*(\w+)\*", (ROOT / "README.md").read_text().partition("\nWords: ")[2])
    terms = {term.lower() for term in re.findall(r"^\| ([\w -]+) \|", GLOSSARY, re.MULTILINE)}
    assert len(words) == 8
    assert {word.removesuffix("s") for word in words} <= terms


@pytest.mark.parametrize("suffix", ["py", "lua", "md"])
def test_every_sentence_has_a_subject(suffix: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in _texts(suffix)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in HIDDEN_SUBJECTS.finditer(line)
    ]
    assert found == []
