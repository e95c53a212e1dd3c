"""What a worker's main process does beside its child: heartbeat, leases, recovery.

A thread, and in the parent: it goes on while the child is deep in C++ and while Celery's event loop waits for Redis.
It knows nothing of Celery; ``workers/app.py`` hands it what it needs to see.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from graphs.errors import ServiceUnavailable
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.recovery import Recovery
from workers.process.drain import Drain
from workers.process.report_board import LoadReport, ReportBoard

log = logging.getLogger(__name__)

_CYCLE_S = 1.0
_DRAINING_CYCLE_S = 0.1
_RESEND_EVERY = 5
# A worker that is free and hears nothing of so many rounds of messages has a connection that is dead.
_DEAF_AFTER = 2
EXIT_CANNOT_LOAD = 2


@dataclass(frozen=True)
class PoolView:
    """How the thread sees the pool: the pids of its children, how to have a dead one replaced at once, and how to have
    the connection that messages come by made anew.
    """

    child_pids: Callable[[], set[int]]
    replace_dead_child: Callable[[], None]
    reconnect: Callable[[], None]

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
        self._unheard = self._taken_before = 0

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
        if resend:
            count = self._recovery.resend_lost()
            if count:
                log.warning("jobs waited while workers were idle: %d messages sent again", count)
            idle = report is not None and report.pid in alive and not running and not self._drain.is_on
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
