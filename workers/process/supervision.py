"""What a worker's main process does while its child draws: heartbeat, leases, recovery, shutdown.

It is a thread of the main process, so it continues while the child is inside C++ code and while Celery's event loop
waits for Redis. It knows nothing of Celery; ``workers/app.py`` gives it a view of the pool.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from graphs.errors import ConfigurationError, ServiceUnavailable
from workers.jobs.job import ended_in_step_message
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.recovery import Recovery
from workers.periodic_thread import PeriodicThread
from workers.process.child_processes import PoolView, end_at_once
from workers.process.device_watch import DeviceWatch
from workers.process.drain import WorkerDrain
from workers.process.shared_memory import ChildCommand, LoadReport, SharedMemory
from workers.process.step_grace import StepGrace
from workers.process.worker_state import WorkerState

log = logging.getLogger(__name__)

# A lease is renewed once a cycle, so ``IMAGEGEN_JOBS__LEASE_S`` (config/settings.py) must be longer than this.
_CYCLE_S = 1.0
_DRAINING_CYCLE_S = 0.1
_RESEND_EVERY = 5
# A worker whose state stays the same says so, and reaps, in every second cycle only: that saves commands.
_REPEAT_EVERY = 2
# The connection to the broker is dead when a free worker receives none of the messages of this many resends in a row.
_DEAF_AFTER = 2


class Supervision(PeriodicThread):
    """The thread of the main process that keeps the worker, its child and its jobs in order."""

    def __init__(
        self, recovery: Recovery, presence: WorkerPresence, shared: SharedMemory, pool: PoolView, drain: WorkerDrain
    ) -> None:
        """``presence`` is what the heartbeat publishes; its state is filled in here."""
        super().__init__("supervision")
        self._recovery = recovery
        self._presence = presence
        self._state = WorkerState(presence, shared)
        self._shared = shared
        self._running_job = shared.running_job
        self._pool = pool
        self._drain = drain
        self._step_grace = StepGrace(recovery.step_grace_s)
        self._has_warned_of_bound = False
        self._device = DeviceWatch()
        self._is_resting = self._was_ready = self._has_left = False
        self._cycles = 0
        # Jobs whose child died and whose leases Redis still has to end; whether some are to be requeued.
        self._lost_jobs: set[str] = set()
        self._has_lost = False
        self._unheard_resends = self._claimed_before = 0
        # The last heartbeat, its age in cycles, and whether this worker reaps for its graph.
        self._said: WorkerPresence | None = None
        self._said_ago = 0
        self._is_reaper = False

    def child_lost(self) -> None:
        """Handle the death of the child: its job is requeued now rather than when its lease runs out."""
        if self._drain.is_forced:
            return  # the drain killed the child and hands its job back
        if held := self._shared.held_jobs():
            self._shared.errors.write("The process that drew died.")
            for job_id in held:
                log.error("the process of %s died; the job goes back to the queue", job_id, extra={"job_id": job_id})
            self._shared.clear_held_jobs()
            self._lost_jobs.update(held)
            self.guarded(self._end_lost_leases)
            self.guarded(self._recovery.count_crash)
        # The child may have taken the message of a job that waits.
        self.guarded(self._recovery.pass_on)
        self.wake()

    def drain(self) -> None:
        """Begin the shutdown: the worker no longer counts as ready but keeps the lease of its running job."""
        self._drain.begin()
        self.wake()

    def stop(self) -> None:
        """End the thread; a worker that shuts down also wakes others for the jobs that wait."""
        super().stop()
        if self._drain.is_on:
            self.guarded(self._recovery.pass_on)

    def interval_s(self) -> float:
        """Return the length of a cycle in seconds: short during the shutdown."""
        return _DRAINING_CYCLE_S if self._drain.is_on else _CYCLE_S

    def cycle(self) -> None:
        """Do everything that is due. Raises ServiceUnavailable, or ConfigurationError, which ends the process."""
        resend = self._cycles % _RESEND_EVERY == 0
        self._cycles += 1
        self.guarded(self._look_at_ends)
        report = self._shared.load_reports.read()
        alive = self._pool.living()
        has_failed_load = self._device.has_failed_load(report)
        if not has_failed_load:
            self._check_load(report)
        has_loaded = report is not None and report.pid in alive and not has_failed_load
        running = self._running_job.id()
        if self._drain.is_on:
            self._shut_down(self._shared.held_jobs())
        else:
            self._look_after_device(alive & {report.pid} if report and has_failed_load else set())
            has_loaded = has_loaded and not self._is_resting
            operations = report.operations if report and has_loaded else ()
            if resend:
                self._recovery.check_layout()
            advice = self._device.advice if self._is_resting else None
            self._say(self._state.now(ready=has_loaded, operations=operations, advice=advice))
        self._look_after_child(running, alive)
        if storing := self._shared.storing_job.id():
            self._recovery.renew_lease(storing)
        self._end_lost_leases()
        if self._has_lost or self._drain.is_on or (self._is_reaper and self._said_ago == 0):
            self._reap()
        if resend:
            self._resend(is_idle=has_loaded and not self._shared.held_jobs() and not self._drain.is_on)

    def _check_load(self, report: LoadReport | None) -> None:
        """Raise ConfigurationError where the child cannot load its model: Celery would replace the child for ever.

        The last heartbeat says why. The child ends with this process (its parent-death signal).
        """
        if report is not None and report.error is not None:
            with contextlib.suppress(ServiceUnavailable):  # without Redis, the log alone says it
                self._recovery.heartbeat(replace(self._presence, error=report.error))
            raise ConfigurationError(report.error)

    def _say(self, state: WorkerPresence) -> None:
        """Send a heartbeat where the state has changed, and in every second cycle."""
        self._said_ago += 1
        if state != self._said or self._said_ago >= _REPEAT_EVERY:
            self._is_reaper = self._recovery.heartbeat(state)
            self._said = state
            self._said_ago = 0
        if state.ready and not self._was_ready:
            log.info("ready: the worker for %r on %s takes jobs", self._presence.graph, self._presence.device)
        self._was_ready = state.ready

    def _reap(self) -> None:
        self._has_lost = False
        for job_id in self._recovery.reap():
            log.warning("%s requeued: its worker's lease ran out", job_id, extra={"job_id": job_id})

    def _look_after_device(self, without_model: set[int]) -> None:
        """Let the device rest, or take jobs again; ``without_model``: children that could not load the model."""
        if self._device.is_resting != self._is_resting:
            self._is_resting = self._device.is_resting
            self._pool.take_messages(not self._is_resting)
            is_off = self._is_resting or self._drain.is_on  # a signal may have begun the shutdown just now
            self._shared.commands.give(ChildCommand.TAKE_NO_JOBS if is_off else ChildCommand.CONTINUE)
            self._recovery.pass_on()
        if without_model and not self._is_resting:
            self._replace_child(without_model, "device")

    def _look_at_ends(self) -> None:
        """Take note of a child that ended because of the device, and wake a worker for its job."""
        if self._device.is_new_end(self._shared.ends.read()):
            self._recovery.count_replacement("device")
            self._recovery.pass_on()

    def _shut_down(self, held: Sequence[str]) -> None:
        # The drain comes first: the shutdown must not depend on Redis.
        self._drain.cycle(held)
        if not self._has_left:
            self._recovery.leave(self._presence.name)
            self._has_left = True

    def _look_after_child(self, running: str | None, alive: set[int]) -> None:
        if not alive:
            self._pool.replace_dead_child()
        elif self._shared.task_clock.has_run_s(alive) > self._recovery.last_resort_s:
            self._end_hanging(alive)
        elif running:
            self._look_after_job(running, alive)
        elif not self._drain.is_on and not self._shared.storing_job.id():
            self._look_after_memory(alive)

    def _look_after_job(self, job_id: str, children: set[int]) -> None:
        drawing_s = self._running_job.running_s()
        limit_s = self._recovery.time_limit_s
        if drawing_s >= limit_s + self._recovery.step_grace_s:
            self._end_inside_step(job_id, children, f"its time limit of {limit_s} s")
        elif self._step_grace.is_over(job_id, self._recovery.renew_lease(job_id)) and drawing_s >= 0:
            self._end_inside_step(job_id, children, "it was to stop")

    def _end_inside_step(self, job_id: str, children: set[int], since: str) -> None:
        """End a job that is to stop, then its child, which is inside one long step or hangs.

        In this order: a worker that dies between the two must not leave a job that runs again.
        """
        grace_s = self._recovery.step_grace_s
        self._recovery.end_lease(job_id, ended_in_step_message(grace_s))
        if self._running_job.id() != job_id:  # it has reached its next step just now
            return
        log.error(
            "%s stayed inside one step for more than %g s after %s (IMAGEGEN_JOBS__STEP_GRACE_S); the process that ran "
            "it is ended, and the next one loads the model",
            *(job_id, grace_s, since),
            extra={"job_id": job_id},
        )
        self._recovery.hand_back(self._shared.held_jobs())  # the one that is being stored is not at fault
        self._shared.clear_held_jobs()
        self._replace_child(children, "step_grace")

    def _end_hanging(self, children: set[int]) -> None:
        """End a child whose task takes longer than any may: it hangs where no other limit looks, as while it stores.

        A job that it ran is past its time limit, so it fails and does not run again.
        """
        held = self._shared.held_jobs()
        for job_id in held:
            self._recovery.end_lease(job_id)
        log.error(
            "the process that draws ran one task for more than %g s (%s); it is ended, and the next loads the model",
            *(self._recovery.last_resort_s, ", ".join(held) or "it has claimed no job"),
        )
        self._shared.clear_held_jobs()
        self._replace_child(children, "hanging")
        # The message that the child took may be that of a job that waits.
        self.guarded(self._recovery.pass_on)

    def _look_after_memory(self, children: set[int]) -> None:
        """Replace a child that grew past the bound of its memory; no job runs, and it takes none any more."""
        report = self._shared.memory_reports.read()
        if report is None or report.pid not in children:
            return
        if report.is_past_bound:
            log.warning("%s; it is ended, and the next one loads the model", report.growth_sentence())
            self._shared.memory_reports.clear()
            self._replace_child(children, "memory")
            # The child may have taken the message of a job that waits.
            self.guarded(self._recovery.pass_on)
        elif report.is_too_large_at_first and not self._has_warned_of_bound:
            log.warning("%s", report.too_large_sentence())
            self._has_warned_of_bound = True

    def _replace_child(self, children: set[int], reason: str) -> None:
        """End the child, so that the pool starts another one, and count that by its reason."""
        end_at_once(children)
        self.guarded(lambda: self._recovery.count_replacement(reason))

    def _end_lost_leases(self) -> None:
        for job_id in list(self._lost_jobs):
            if job_id not in self._shared.held_jobs():  # otherwise the next child has claimed it, with a new lease
                self._recovery.end_lease(job_id)
            self._lost_jobs.discard(job_id)
            self._has_lost = True

    def _resend(self, *, is_idle: bool) -> None:
        count = self._recovery.resend_lost(is_idle=is_idle)
        if count:
            log.warning("jobs waited while workers were idle: %d messages sent again", count)
        self._reconnect_if_deaf(expects_message=count > 0 and is_idle)

    def _reconnect_if_deaf(self, *, expects_message: bool) -> None:
        """Replace the connection to the broker when resent messages do not reach this free worker.

        Celery on Redis receives nothing more when its connection dies unnoticed before it could acknowledge a message:
        the worker would stay ready and idle for ever.
        """
        claimed = self._running_job.claimed_count()
        before = self._claimed_before
        self._claimed_before = claimed
        self._unheard_resends = self._unheard_resends + 1 if expects_message and claimed == before else 0
        if self._unheard_resends >= _DEAF_AFTER:
            log.warning("jobs wait and no message reaches this worker: it connects to the broker again")
            self._unheard_resends = 0
            self._pool.reconnect()
