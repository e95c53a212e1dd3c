"""How a worker stops: no more jobs, the running one to its end or back into the queue, and nothing left behind.

Celery's own warm shutdown does the orderly part: it stops consuming, waits for the child and exits with 0. It waits for
ever, though, for a child that loads its model or is lost in C++, and its cold shutdown costs the job an attempt. So the
main process's thread watches over it here, and ends the process itself where Celery would keep it.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from graphs.errors import ServiceUnavailable
from workers.jobs.recovery import Recovery
from workers.process.orders import Order, Orders

log = logging.getLogger(__name__)

# What a step may take beyond the limit before the child is killed, and Celery to leave once nothing runs.
_STEP_GRACE_S = 5.0
_LEAVE_GRACE_S = 1.5
_KILL_GRACE_S = 2.0
_LOOK_EVERY_S = 0.05


def end_process() -> None:
    """End this process with code 0, and its children with it (their parent-death signal)."""
    logging.shutdown()
    os._exit(0)


class Drain:
    """The end of a worker, as its main process sees it. Without ``begin`` nothing happens."""

    def __init__(
        self,
        recovery: Recovery,
        orders: Orders,
        living_children: Callable[[], set[int]],
        limit_s: float,
        end: Callable[[], None] = end_process,
    ) -> None:
        """``limit_s``: how long a running job may go on."""
        self._recovery, self._orders, self._living_children = recovery, orders, living_children
        self._limit_s, self._end = limit_s, end
        self._times_told = 0
        self._seen: set[int] = set()
        self._began = self._last_busy = 0.0
        self._passed_on = self.is_forced = False

    def begin(self) -> None:
        """Take no more jobs; told again, do not wait for the running one. Called in a signal handler: it only notes."""
        self._times_told += 1
        if self._times_told == 1:
            self._began = self._last_busy = time.monotonic()
            self._orders.give(Order.TAKE_NO_MORE)

    @property
    def is_on(self) -> bool:
        """Tell whether this worker stops."""
        return self._times_told > 0

    def look(self, running: str | None) -> None:
        """Do what is due, several times a second; ``running`` is the job that the child runs.

        Raises ServiceUnavailable.
        """
        now, living = time.monotonic(), self._living_children()
        self._seen |= living
        if self._times_told > 1:
            self._force("told twice to stop")
        elif running and not living:
            # It died by itself: that counts as an attempt, as ever. Another one would be loaded for nothing.
            log.warning("leaving: the child has died")
            self._leave(lambda: self._recovery.end_lease(running))
        elif running:
            self._bound(running, now)
        else:
            if self._orders.now() is Order.HAND_BACK and not self._passed_on:
                self._recovery.pass_on()
                self._passed_on = True
            if now - self._last_busy > _LEAVE_GRACE_S:
                self._force("nothing runs here")

    def _bound(self, running: str, now: float) -> None:
        self._last_busy = now
        over_s = now - self._began - self._limit_s
        if over_s >= 0 and self._orders.now() is not Order.HAND_BACK:
            log.warning(
                "%s has run for %g s since this worker was told to stop; handing it back", running, self._limit_s
            )
            self._orders.give(Order.HAND_BACK)
        if over_s > _STEP_GRACE_S:
            self._force(f"{running} came to no step in {_STEP_GRACE_S:g} s")

    def _force(self, why: str) -> None:
        """Leave now: kill the child, so that it writes nothing more, and give back what it had."""
        self.is_forced = True
        log.info("leaving: %s", why)
        self._kill_children()
        self._leave(self._hand_back)

    def _hand_back(self) -> None:
        for job_id in self._recovery.hand_back():
            log.warning("%s handed back: this worker stops", job_id)

    def _leave(self, settle: Callable[[], None]) -> None:
        try:
            settle()
            self._recovery.pass_on()
        except ServiceUnavailable as error:
            log.warning("%s; the job's lease will run out", error)
        finally:
            self._end()

    def _kill_children(self) -> None:
        self._seen |= self._living_children()
        for pid in self._living_children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself just now
                continue
        give_up_at, pause = time.monotonic() + _KILL_GRACE_S, threading.Event()
        while self._living_children() and time.monotonic() < give_up_at:
            pause.wait(_LOOK_EVERY_S)
        # Celery would do it, but there is no time for Celery: whoever inherits them is to inherit no zombies.
        for pid in self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
