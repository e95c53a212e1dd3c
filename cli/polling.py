"""Repeats a check until a deadline."""

import time
from collections.abc import Iterator


def attempts(timeout_s: float, every_s: float) -> Iterator[None]:
    """Yield at once and then every ``every_s`` seconds, for the last time when ``timeout_s`` seconds are over.

    The loop that uses it returns as soon as its check succeeds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        is_last = time.monotonic() >= deadline
        yield
        if is_last:
            return
        time.sleep(every_s)  # noqa: TID251  # between two checks, and only up to the deadline
