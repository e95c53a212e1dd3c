"""The processes of a worker's children, as its main process sees and ends them."""

import contextlib
import os
import signal
from collections.abc import Iterable
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
