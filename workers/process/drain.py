"""How a worker stops: it takes no more jobs, the running job ends or is handed back, and no process is left behind.

Celery's warm shutdown does the orderly part: it stops consuming, waits for the child and exits with code 0. But it
waits without a limit for a child that loads its model or hangs in C++, and its cold shutdown costs the running job an
attempt. So the supervision thread of the main process calls WorkerDrain, which ends the process where Celery would not.
"""

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable, Sequence

from graphs.errors import ServiceUnavailable
from workers.jobs.recovery import Recovery
from workers.process.child_processes import end_at_once
from workers.process.shared_memory import ChildCommand, ChildCommands

log = logging.getLogger(__name__)

# A child that reaches no step for this long after the limit is killed.
_STEP_GRACE_S = 5.0
# Celery has this long to exit by itself once no job runs. Right after a job it does; while it is idle, it looks only
# every second or more rarely whether it should exit, and nothing is lost if it does not.
_EXIT_GRACE_S = 0.5
_KILL_GRACE_S = 2.0


def end_process() -> None:
    """End this process with code 0, and its children with it (their parent-death signal)."""
    logging.shutdown()
    os._exit(0)


class WorkerDrain:
    """The shutdown of a worker, in its main process. It does nothing before ``begin``."""

    def __init__(
        self,
        recovery: Recovery,
        commands: ChildCommands,
        living_children: Callable[[], set[int]],
        limit_s: float,
        end: Callable[[], None] = end_process,
    ) -> None:
        """``limit_s``: for how long the running job may continue. ``end`` ends this process; tests replace it."""
        self._recovery = recovery
        self._commands = commands
        self._living_children = living_children
        self._limit_s = limit_s
        self._end = end
        self._stop_signals = 0
        self._seen_children: set[int] = set()
        self._began = 0.0
        self._last_busy = 0.0
        self._passed_on = False
        self._held: Sequence[str] = ()
        self.is_forced = False

    def begin(self) -> None:
        """Take no more jobs; from the second call on, do not wait for the running job either.

        A signal handler calls this, so it only records the call; ``cycle`` acts on it.
        """
        self._stop_signals += 1
        if self._stop_signals == 1:
            self._began = self._last_busy = time.monotonic()
            self._commands.give(ChildCommand.TAKE_NO_JOBS)

    @property
    def is_on(self) -> bool:
        """Return whether this worker is stopping."""
        return self._stop_signals > 0

    def cycle(self, held: Sequence[str]) -> None:
        """Take the next step of the shutdown; to be called several times a second.

        ``held``: the ids of the job that the child runs and of the one that it stores. Raises ServiceUnavailable.
        """
        self._held = held
        now = time.monotonic()
        living = self._living_children()
        self._seen_children |= living
        if self._stop_signals > 1:
            self._force("a second signal asks to stop")
        elif held and not living:
            # The child died by itself, which counts as an attempt, as always. A new child would load for nothing.
            log.warning("stopping: the child has died")
            self._leave(lambda: [self._recovery.end_lease(job_id) for job_id in held])
        elif held:
            self._limit(held[0], now)
        else:
            if self._commands.current() is ChildCommand.HAND_BACK and not self._passed_on:
                self._recovery.pass_on()
                self._passed_on = True
            if now - self._last_busy > _EXIT_GRACE_S:
                self._force("no job runs here")

    def _limit(self, running: str, now: float) -> None:
        self._last_busy = now
        over_s = now - self._began - self._limit_s
        if over_s >= 0 and self._commands.current() is not ChildCommand.HAND_BACK:
            log.warning("%s has run for %g s since this worker began to stop; handing it back", running, self._limit_s)
            self._commands.give(ChildCommand.HAND_BACK)
        if over_s > _STEP_GRACE_S:
            self._force(f"{running} reached no step within {_STEP_GRACE_S:g} s")

    def _force(self, why: str) -> None:
        """Stop now: kill the child, so that it writes nothing more, and hand its job back."""
        self.is_forced = True
        log.info("stopping: %s", why)
        self._kill_children()
        self._leave(self._hand_back)

    def _hand_back(self) -> None:
        for job_id in self._recovery.hand_back(self._held):
            log.warning("%s handed back: this worker stops", job_id)

    def _leave(self, settle: Callable[[], object]) -> None:
        try:
            settle()
            self._recovery.pass_on()
        except ServiceUnavailable as error:
            log.warning("%s; the job's lease will run out", error)
        finally:
            self._end()

    def _kill_children(self) -> None:
        living = self._living_children()
        self._seen_children |= living
        end_at_once(living)
        give_up_at = time.monotonic() + _KILL_GRACE_S
        for pid in living:
            _wait_for_end(pid, give_up_at)
        # Reap killed children ourselves: ``os._exit`` skips Celery's own reaping.
        for pid in self._seen_children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _wait_for_end(pid: int, give_up_at: float) -> None:
    """Wait until a process has ended, or until ``give_up_at`` on the monotonic clock."""
    try:
        process = os.pidfd_open(pid)
    except OSError:  # it has ended and was reaped, or this kernel (before 5.3) has no such call
        return
    try:
        waiting = select.poll()
        waiting.register(process, select.POLLIN)  # a pidfd is readable once its process has ended
        waiting.poll(max(0.0, give_up_at - time.monotonic()) * 1000)
    finally:
        os.close(process)
