"""The logs of the services that run now: a test that fails shows their last lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_LINES = 60
# Tests poll: these lines say nothing of a failure.
_POLLS = "api.access: GET "
_read_now: list[Path] = []


@contextmanager
def shown_on_failure(log: Path) -> Iterator[None]:
    """Show the last lines of this file with each test that fails within the block."""
    _read_now.append(log)
    try:
        yield
    finally:
        _read_now.remove(log)


def last_lines() -> list[tuple[str, str]]:
    """Return, for each log, a title and its last lines without those of requests that only read."""
    found = []
    for log in _read_now:
        lines = [line for line in log.read_text(errors="replace").splitlines() if _POLLS not in line]
        found.append((f"the last lines of {log.name}", "\n".join(lines[-_MOST_LINES:])))
    return found
