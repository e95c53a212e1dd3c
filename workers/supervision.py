"""What a worker's main process does beside its child: heartbeat, leases, recovery.

A thread, and in the parent: it goes on while the child is deep in C++ and while Celery's event loop waits for Redis.
It knows nothing of Celery; ``workers/app.py`` hands it what it needs to see.
"""

import json
import logging
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from graphs.errors import ServiceUnavailable
from workers.jobs.presence import WorkerPresence
from workers.jobs.recovery import Recovery

log = logging.getLogger(__name__)

_CYCLE_S = 1.0
_RESEND_EVERY = 5
# A worker that is free and hears nothing of so many rounds of messages has a connection that is dead.
_DEAF_AFTER = 2
EXIT_CANNOT_LOAD = 2


@dataclass(frozen=True)
class LoadReport:
    """What a child says once it has tried to load its model."""

    pid: int
    operations: tuple[str, ...] = ()
    error: str | None = None


class ReportBoard:
    """Shared memory that the children inherit: the newest one's load report stands on it."""

    # Room for an error of 2000 characters, twelve bytes each where JSON escapes a surrogate pair.
    _SIZE = 32 * 1024

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, self._SIZE)
        self._running = mmap.mmap(-1, mmap.PAGESIZE)
        self._taken = mmap.mmap(-1, mmap.PAGESIZE)

    def set_running(self, job_id: str | None) -> None:
        """Say which job runs (in the child); None for none."""
        if job_id is not None:
            self._taken[:8] = (self.taken() + 1).to_bytes(8)
        self._running[:] = (job_id or "").encode().ljust(mmap.PAGESIZE, b"\0")

    def running(self) -> str | None:
        """Return the job that runs, or that ran when the child died (in the parent)."""
        return self._running[:].rstrip(b"\0").decode() or None

    def taken(self) -> int:
        """Return how many jobs the children have taken so far."""
        return int.from_bytes(self._taken[:8])

    def write(self, report: LoadReport) -> None:
        """Replace the report (in the child)."""
        text = json.dumps({**report.__dict__, "error": report.error and report.error[:2000]}).encode()
        self._page[:] = text.ljust(self._SIZE, b"\0")

    def read(self) -> LoadReport | None:
        """Return the newest report (in the parent), or None before the first."""
        text = self._page[:].rstrip(b"\0")
        if not text:
            return None
        try:
            values = json.loads(text)
        except ValueError:  # the child is writing at this moment; the next round reads all of it
            return None
        return LoadReport(values["pid"], tuple(values["operations"]), values["error"])


@dataclass(frozen=True)
class PoolView:
    """How the thread sees the pool: the pids of its children, how to have a dead one replaced at once, and how to have
    the connection that messages come by made anew.
    """

    child_pids: Callable[[], set[int]]
    replace_dead_child: Callable[[], None]
    reconnect: Callable[[], None]


def is_running(pid: int) -> bool:
    """Tell whether a process lives and is no zombie (read from /proc: waiting for it would be the pool's reaping)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Supervision(threading.Thread):
    """The main process's thread."""

    def __init__(self, recovery: Recovery, presence: WorkerPresence, board: ReportBoard, pool: PoolView) -> None:
        super().__init__(name="supervision", daemon=True)
        self._recovery, self._presence, self._board, self._pool = recovery, presence, board, pool
        self._wake, self._draining, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._redis_away = False
        self._unheard = self._taken_before = 0

    def child_lost(self) -> None:
        """The child died while it ran a job: requeue that now rather than when its lease runs out."""
        if job_id := self._board.running():
            self._guarded(lambda: self._recovery.end_lease(job_id))
            self._board.set_running(None)
        self._wake.set()

    def drain(self) -> None:
        """The worker takes no more jobs: count no longer as ready, but keep the running job's lease."""
        self._draining.set()
        self._guarded(lambda: self._recovery.leave(self._presence.name))

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Do the rounds until stopped."""
        cycle = 0
        while not self._stopping.is_set():
            resend = cycle % _RESEND_EVERY == 0
            self._guarded(partial(self._cycle, resend=resend))
            cycle += 1
            self._wake.wait(_CYCLE_S)
            self._wake.clear()

    def _cycle(self, *, resend: bool) -> None:
        report = self._board.read()
        alive = {pid for pid in self._pool.child_pids() if is_running(pid)}
        self._end_if_it_cannot_load(report)
        if not self._draining.is_set():
            loaded = report is not None and report.pid in alive
            operations = report.operations if report and loaded else ()
            self._recovery.heartbeat(replace(self._presence, ready=loaded, operations=operations))
        running = self._board.running()
        if not alive:
            self._pool.replace_dead_child()
        elif running:
            self._recovery.renew_lease(running)
        for job_id in self._recovery.reap():
            log.warning("%s requeued: its worker's lease ran out", job_id)
        if resend:
            count = self._recovery.resend_lost()
            if count:
                log.warning("jobs waited while workers were idle: %d messages sent again", count)
            idle = report is not None and report.pid in alive and not running and not self._draining.is_set()
            self._reconnect_if_deaf(is_called=count > 0 and idle)

    def _reconnect_if_deaf(self, *, is_called: bool) -> None:
        """Celery on Redis never takes another message when a connection died without a sign before it could acknowledge
        one; this worker would be there, and free, for ever.
        """
        taken, before = self._board.taken(), self._taken_before
        self._taken_before = taken
        self._unheard = self._unheard + 1 if is_called and taken == before else 0
        if self._unheard >= _DEAF_AFTER:
            log.warning("jobs wait and no message reaches this worker: it connects to the broker again")
            self._unheard = 0
            self._pool.reconnect()

    def _end_if_it_cannot_load(self, report: LoadReport | None) -> None:
        if report is None or report.error is None:
            return
        log.critical("%s", report.error)
        logging.shutdown()
        # Celery would replace the child for ever; its parent-death signal ends it with us.
        os._exit(EXIT_CANNOT_LOAD)

    def _guarded(self, act: Callable[[], None]) -> None:
        """Redis away is an ordinary event: say it once, go on, say when it is back."""
        try:
            act()
        except ServiceUnavailable as error:
            if not self._redis_away:
                log.warning("%s; trying again every second", error)
            self._redis_away = True
        except Exception:  # without this thread leases run out: it goes on whatever happens
            log.exception("a round of supervision failed")
        else:
            if self._redis_away:
                log.info("Redis is back")
            self._redis_away = False
