"""The processes of a worker's children, as its main process sees and ends them."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


def is_running(pid: int) -> bool:
    """Return whether a process lives and is no zombie (from /proc, because only the pool may wait for its children)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def end_at_once(pids: Iterable[int]) -> None:
    """End processes, which may hang inside native code; those that have ended by themselves do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class PoolView:
    """What the thread sees and does of Celery's pool.

    ``child_pids`` returns the pids of its children, ``replace_dead_child`` starts a new child for a dead one at once,
    ``reconnect`` replaces the connection to the broker, and ``take_messages`` begins or stops to take messages from it.
    """

    child_pids: Callable[[], set[int]]
    replace_dead_child: Callable[[], None]
    reconnect: Callable[[], None]
    take_messages: Callable[[bool], None] = lambda _: None

    def living(self) -> set[int]:
        """Return the pids of the children that live."""
        return {pid for pid in self.child_pids() if is_running(pid)}
