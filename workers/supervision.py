"""What a worker's main process does beside its child: heartbeat, leases, recovery.

A thread, and in the parent: it goes on while the child is deep in C++ and while Celery's event loop waits for Redis.
It knows nothing of Celery; ``workers/app.py`` hands it what it needs to see.
"""

import contextlib
import json
import logging
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from graphs.errors import ServiceUnavailable
from workers.drain import Drain
from workers.jobs.presence import WorkerPresence
from workers.jobs.recovery import Recovery

log = logging.getLogger(__name__)

_CYCLE_S = 1.0
_DRAINING_CYCLE_S = 0.1
_RESEND_EVERY = 5
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

    def set_running(self, job_id: str | None) -> None:
        """Say which job runs from now on (in the child); None for none."""
        self._post(f"{job_id} {time.monotonic()!r}" if job_id else "")

    def set_storing(self, job_id: str) -> None:
        """Say that the job is drawn and is being stored (in the child): it is no longer on its time."""
        self._post(f"{job_id} inf")

    def running(self) -> str | None:
        """Return the job that runs, or that ran when the child died (in the parent)."""
        return self._posted()[0] or None

    def running_for_s(self) -> float:
        """Return how long the child has been drawing that job, in seconds (in the parent)."""
        since = self._posted()[2]  # of the system's clock, which is the same in all its processes
        return time.monotonic() - float(since) if since else 0.0

    def _post(self, text: str) -> None:
        self._running[:] = text.encode().ljust(mmap.PAGESIZE, b"\0")

    def _posted(self) -> tuple[str, str, str]:
        return self._running[:].rstrip(b"\0").decode().partition(" ")

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
    """How the thread sees the pool: the pids of its children, and how to have a dead one replaced at once."""

    child_pids: Callable[[], set[int]]
    replace_dead_child: Callable[[], None]

    def living(self) -> set[int]:
        """Return the pids of the children that live."""
        return {pid for pid in self.child_pids() if is_running(pid)}


def is_running(pid: int) -> bool:
    """Tell whether a process lives and is no zombie (read from /proc: waiting for it would be the pool's reaping)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Supervision(threading.Thread):
    """The main process's thread."""

    def __init__(
        self, recovery: Recovery, presence: WorkerPresence, board: ReportBoard, pool: PoolView, drain: Drain
    ) -> None:
        super().__init__(name="supervision", daemon=True)
        self._recovery, self._presence, self._board, self._pool, self._drain = recovery, presence, board, pool, drain
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._redis_away = self._has_left = False
        # Jobs whose child is gone, and of whose end Redis does not know yet.
        self._left_behind: set[str] = set()

    def child_lost(self) -> None:
        """The child died while it ran a job: requeue that now rather than when its lease runs out."""
        if self._drain.is_forced:  # it was killed, and its job is handed back
            return
        if job_id := self._board.running():
            log.error("the process that ran %s died; the job goes back to the queue", job_id, extra={"job_id": job_id})
            self._board.set_running(None)
            self._left_behind.add(job_id)
            self._guarded(self._end_leases)
            self._guarded(self._recovery.count_crash)
        self._wake.set()

    def drain(self) -> None:
        """The worker takes no more jobs: count no longer as ready, but keep the running job's lease (see Drain)."""
        self._drain.begin()
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._wake.set()
        if self._drain.is_on:
            self._guarded(self._recovery.pass_on)

    def run(self) -> None:
        """Do the rounds until stopped."""
        cycle = 0
        while not self._stopping.is_set():
            resend = cycle % _RESEND_EVERY == 0
            self._guarded(partial(self._cycle, resend=resend))
            cycle += 1
            self._wake.wait(_DRAINING_CYCLE_S if self._drain.is_on else _CYCLE_S)
            self._wake.clear()

    def _cycle(self, *, resend: bool) -> None:
        report = self._board.read()
        alive = self._pool.living()
        self._end_if_it_cannot_load(report)
        running = self._board.running()
        if self._drain.is_on:
            self._leave(running)
        else:
            loaded = report is not None and report.pid in alive
            operations = report.operations if report and loaded else ()
            self._recovery.heartbeat(replace(self._presence, ready=loaded, operations=operations))
        if not alive:
            self._pool.replace_dead_child()
        elif running and self._board.running_for_s() >= self._recovery.kill_after_s:
            self._end_overdue(running, alive)
        elif running:
            self._recovery.renew_lease(running)
        self._end_leases()
        for job_id in self._recovery.reap():
            log.warning("%s requeued: its worker's lease ran out", job_id, extra={"job_id": job_id})
        if resend and (count := self._recovery.resend_lost()):
            log.warning("jobs waited while workers were idle: %d messages sent again", count)

    def _end_overdue(self, job_id: str, children: set[int]) -> None:
        """The child is deep in one step, or hangs. First the job ends: whoever dies now, it is not run again."""
        self._recovery.end_lease(job_id)
        log.error("%s ran for %.0f s; the process that ran it is killed", job_id, self._board.running_for_s())
        self._board.set_running(None)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _end_leases(self) -> None:
        for job_id in list(self._left_behind):
            if job_id != self._board.running():  # the next child has it again: its lease is a new one
                self._recovery.end_lease(job_id)
            self._left_behind.discard(job_id)

    def _leave(self, running: str | None) -> None:
        # First, and whether Redis answers or not: leaving must not wait for it.
        self._drain.look(running)
        if not self._has_left:
            self._recovery.leave(self._presence.name)
            self._has_left = True

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
