"""What a test needs beyond Python: its markers follow from its fixtures, and a guard holds the fast tests to it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Each fixture stands for something that costs time; a test that requests it, directly or through another fixture,
# gets the marker. All other tests are fast.
MARKERS = {"redis_processes": "redis", "processes": "process", "openvino_runtime": "model", "long_computation": "slow"}
FAST = "fast"
# Below tests/: folders and modules whose imports are slow and that hold no fast test. Where only fast tests are asked
# for, they are not imported.
WITHOUT_FAST_TESTS = (
    "api/answer/test_streaming.py",
    "cli/export/test_export.py",
    "demo",
    "fuzz/test_hostile_images.py",
    "fuzz/test_openapi.py",
    "security",
    "stack",
)
_TESTS = Path(__file__).parents[1]
# Audit events of the interpreter that start a process.
_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system")
_RUNTIME = re.compile(r"openvino(_genai|_tokenizers)?(\.|$)")
_LISTENING = "0A"


def mark(item: pytest.Item) -> None:
    """Give a test the markers that follow from its fixtures."""
    fixtures = getattr(item, "fixturenames", ())
    found = {marker for fixture, marker in MARKERS.items() if fixture in fixtures}
    if item.get_closest_marker("thorough") is None:
        found = found or {FAST}
    if FAST in found and is_without_fast_tests(item.path):
        raise pytest.UsageError(
            f"{item.nodeid} needs neither Redis nor a process nor a model, and `make test-fast` would leave it out: "
            "move it, or take its place out of WITHOUT_FAST_TESTS (tests/support/needs.py)."
        )
    for marker in sorted(found):
        item.add_marker(marker)


@cache
def is_without_fast_tests(path: Path) -> bool:
    """Return whether a folder or module below tests/ holds no fast test."""
    return any(path.is_relative_to(_TESTS / place) for place in WITHOUT_FAST_TESTS)


class NeedsMore(AssertionError):
    """A fast test did what only a test with another marker may do."""


class Guard:
    """Refuses processes, foreign sockets and the model runtime while a fast test runs.

    It is an audit hook of the interpreter (sys.addaudithook), which cannot be taken away again and therefore has a
    switch. A refusal is raised where it happens and is kept as well, since the code under test may catch it.
    """

    def __init__(self) -> None:
        self._test: str | None = None
        self._refused: list[str] = []

    @contextmanager
    def watching(self, test: str) -> Iterator[None]:
        """Refuse what a fast test may not do until the block ends.

        Raises:
            NeedsMore: something was refused, even if the test caught that.
        """
        self._test = test
        try:
            yield
        finally:
            self._test = None
            refused, self._refused = self._refused, []
        if refused:
            raise NeedsMore(refused[0])

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._test is None:
            return
        reason = _reason(event, arguments)
        if reason:
            self._refused.append(f"{self._test} {reason}")
            raise NeedsMore(self._refused[-1])


def _reason(event: str, arguments: tuple[Any, ...]) -> str | None:
    if event in _STARTS:
        return f"starts a process ({event} {arguments[0] if arguments else ''}): request the fixture `processes`"
    if event == "import" and _RUNTIME.match(str(arguments[0])):
        return f"imports {arguments[0]}: request the fixture `openvino_runtime`"
    if event == "socket.connect" and not _is_own(arguments[1]):
        return f"connects to {arguments[1]}, which is another process: request `redis_server` or `processes`"
    return None


def _is_own(address: object) -> bool:
    """Return whether an address is local, and its port this process's own or nothing's (such a client is refused)."""
    if not isinstance(address, tuple) or not str(address[0]).startswith(("127.", "::1", "localhost")):
        return False
    listening = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/self/net/{table}").read_text().splitlines()[1:])
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == address[1]
    }
    return not listening or any(_target(link) in listening for link in Path("/proc/self/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile, such as the descriptor of this listing
        return ""


guard = Guard()
sys.addaudithook(guard)
