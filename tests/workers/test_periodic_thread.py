"""A thread that repeats its work, in a process that forks."""

import os
import threading
import warnings
from pathlib import Path

from tests.support.own_process import run_in_own_process
from workers.periodic_thread import PeriodicThread


class _HoldsALock(PeriodicThread):
    """Its cycle holds a lock until another thread begins to fork."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()
        self.is_inside, self.fork_begins = threading.Event(), threading.Event()

    def cycle(self) -> None:
        with self.lock:
            self.is_inside.set()
            assert self.fork_begins.wait(60)

    def interval_s(self) -> float:
        return 60


def fork_in_a_cycle(_: Path) -> None:
    """Fork while a cycle holds a lock, and check that the child can take it."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
    thread = _HoldsALock()
    os.register_at_fork(before=thread.fork_begins.set)
    thread.start()
    assert thread.is_inside.wait(60)
    child = os.fork()
    if not child:
        os._exit(0 if thread.lock.acquire(blocking=False) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_that_is_forked_in_a_cycle_inherits_no_lock_of_it(processes: None, tmp_path: Path) -> None:
    run_in_own_process(fork_in_a_cycle, tmp_path)
