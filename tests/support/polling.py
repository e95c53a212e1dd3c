"""Waiting in tests: a pause, and a condition that is polled until a deadline."""

import time
from collections.abc import Callable

_POLL_S = 0.02


def pause(seconds: float) -> None:
    """Block for some seconds; a test uses it only between two checks, or to show that nothing happens meanwhile."""
    time.sleep(seconds)


def wait_until(condition: Callable[[], object], what: str = "the condition", *, deadline_s: float = 60.0) -> None:
    """Poll until the condition is true.

    Raises:
        AssertionError: it was still false after ``deadline_s`` seconds; the message names ``what``.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        pause(_POLL_S)
