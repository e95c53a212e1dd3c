"""One job from claim to end, without Celery: claim it, draw it, store the images, or record why that failed."""

import contextvars
import logging
import os
import time
from collections.abc import Callable

from config.log_context import logged_with
from config.traceparent import trace_id
from graphs.errors import EngineError, ServiceUnavailable, StoreFull
from graphs.requests.request import AdapterSelection
from graphs.resolution import Resolution
from workers.engine.images import decode_inputs
from workers.engine.protocol import DrawingFailed, Engine, Generated, GenerationCancelled, InputImages
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import JobError, overdue_error
from workers.jobs.observe.metrics import stages_measured
from workers.process.adapter_sync import AdapterSync
from workers.process.child_reports import ChildEnd
from workers.process.device_check import DeviceCheck, DeviceFailed
from workers.process.memory.child_memory import ChildMemory
from workers.process.progress import (
    PROGRESS_EVERY_S,
    ClaimLost,
    HandBackRequested,
    Progress,
    TimeLimitReached,
)
from workers.process.server_paths import ServerPaths
from workers.process.shared_memory import ChildCommand, Reporter
from workers.process.storing import Drawn, Storing, store

log = logging.getLogger(__name__)

# The main process looks every second whether its child is past its bound.
_REPLACED_WITHIN_S = 30.0
# For how long a task of Celery takes one job after the other; Celery would deliver its message again after an hour.
_TAKES_JOBS_S = 300.0
# For how long a child without a job looks for messages itself: the way through Celery costs more than a claim.
LOOKS_FOR_MESSAGES_S = 2.0
_ONE_LOOK_S = 0.25


class Runner:
    """Runs jobs of one graph, one after the other, on one loaded engine."""

    def __init__(
        self,
        claims: Claims,
        engine: Engine,
        graph: str,
        reporter: Reporter,
        *,
        time_limit_s: int,
        adapters: AdapterSync | None = None,
        paths: ServerPaths | None = None,
        memory: ChildMemory | None = None,
        progress_every_s: float = PROGRESS_EVERY_S,
        looks_for_messages_s: float = LOOKS_FOR_MESSAGES_S,
    ) -> None:
        """``graph`` is the name of the graph whose queue is served; ``adapters`` of None adds no adapter to the engine.

        ``paths`` are left out of the errors of jobs. A job that runs longer than ``time_limit_s`` fails at its next
        step. ``memory`` of None does not watch the memory of this process. Steps that follow one another within
        ``progress_every_s`` are not recorded one by one. For ``looks_for_messages_s`` after a job the next one needs no
        task of Celery.
        """
        self._looks_for_messages_s = looks_for_messages_s
        self._progress_every_s = progress_every_s
        self._claims = claims
        self._engine = engine
        self._graph = graph
        self._reporter = reporter
        self._time_limit_s = time_limit_s
        self._adapters = adapters
        self._paths = paths or ServerPaths()
        self._memory = memory
        self._has_drawn = False
        self._device = DeviceCheck(engine, reporter.device_checked)
        self._storing = Storing()
        # Whether this process has completed no job yet, and why it ends, once it does.
        self._is_fresh = True
        self._end: ChildEnd | None = None
        self._last_selection: tuple[AdapterSelection, ...] = ()
        # How often the adapters changed from one job to the next, since the last completed job.
        self._switches = 0

    def run_waiting(self) -> None:
        """Run one job after the other while some wait, and those of the next seconds. Raises ServiceUnavailable.

        So a message need only wake a worker that is idle (lua/shared.lua, ``wake``). Where more jobs wait, the images
        of one are stored while the next is drawn.
        """
        ends_at = time.monotonic() + _TAKES_JOBS_S
        try:
            while (self._run_one(stores_behind=True) and self._claims.more_wait) or self._message_comes():
                if time.monotonic() >= ends_at:
                    return
        finally:
            self._end_storing()

    def _message_comes(self) -> bool:
        """Wait for a message that wakes a worker; return whether one came, which is then this child's."""
        self._end_storing()
        ends_at = time.monotonic() + self._looks_for_messages_s
        while time.monotonic() < ends_at and self._takes_jobs():
            message = self._claims.take_message(self._graph, _ONE_LOOK_S)
            if message is None:
                continue
            if self._takes_jobs():
                return True
            self._claims.give_back(message)
        return False

    def _end_storing(self) -> None:
        self._reporter.task_started()  # the main process ends a child that takes far too long here too
        try:
            self._storing.wait()
        finally:
            self._reporter.task_ended()

    def _takes_jobs(self) -> bool:
        is_past_bound = self._memory is not None and self._memory.is_past_bound
        return self._end is None and self._reporter.command() is ChildCommand.CONTINUE and not is_past_bound

    def run_next(self) -> bool:
        """Run the next job of the graph to its end, if one waits; return whether one did. Raises ServiceUnavailable."""
        return self._run_one(stores_behind=False)

    def _run_one(self, *, stores_behind: bool) -> bool:
        """As ``run_next``. ``stores_behind``: where more jobs wait, its images may be stored after the return."""
        self._reporter.task_started()
        try:
            return self._claim_and_run(stores_behind=stores_behind)
        finally:
            self._reporter.task_ended()

    def _claim_and_run(self, *, stores_behind: bool) -> bool:
        if self._memory is not None and self._memory.is_past_bound:
            # A child that returned would use up the messages of the jobs that wait.
            time.sleep(_REPLACED_WITHIN_S)  # noqa: TID251 - the main process ends this process meanwhile
            return False
        if self._reporter.command() is not ChildCommand.CONTINUE:
            log.info("this worker stops and takes no more jobs")
            return False
        claim = self._claims.claim_next(self._graph)
        if claim is None:
            log.debug("no job waits for %r", self._graph)
            return False
        job = claim.job
        self._reporter.job_started(job.id)
        about = {"job_id": job.id, "attempt": job.attempts, "graph": self._graph}
        try:
            trace = trace_id(job.options.traceparent)
            with logged_with(request_id=job.options.request_id, trace_id=trace, **about):
                log.info("%s claimed (attempt %d)", job.id, job.attempts)
                self._end_with(claim, lambda: self._draw(claim, stores_behind=stores_behind and claim.more_wait))
        finally:
            self._reporter.job_ended()
            self._measure_memory()
            if self._end is not None:
                self._storing.wait()
                self._reporter.end_child(self._end)
        return self._end is None

    def _end_with(self, claim: Claim, act: Callable[[], None]) -> None:
        """Draw the job or store its images (``act``); an exception that prevents it decides how the job ends."""
        job_id = claim.job.id
        try:
            act()
        except GenerationCancelled:
            self._claims.cancelled(claim)
            log.info("%s cancelled", job_id)
        except HandBackRequested:
            self._claims.hand_back(claim)
            log.warning("%s handed back: this worker stops", job_id)
        except ClaimLost:
            log.warning("%s was claimed by another worker or erased; its images are dropped here", job_id)
        except TimeLimitReached:
            log.error("%s stopped after %d s", job_id, self._time_limit_s)
            self._claims.fail(claim, overdue_error(self._time_limit_s))
        except StoreFull as error:
            log.error("%s failed: there was no room for its images", job_id)
            self._claims.fail(claim, JobError(error.code, f"The image could not be kept. {error.message}"))
        except DeviceFailed as failure:
            self._give_up(claim, failure)
        except EngineError as error:
            self._fail(claim, error)
        except ServiceUnavailable:
            raise
        except Exception:  # a bug: the job must end all the same, and the log must have the traceback
            log.exception("%s failed with an unexpected exception", job_id)
            self._claims.fail(claim, JobError("internal_error", "The server failed while it drew the image."))

    def _fail(self, claim: Claim, error: EngineError) -> None:
        """End the job with an error. The log has the whole sentence; the client, an ordinary one, reads no paths."""
        log.error("%s failed: %s", claim.job.id, error)
        message = self._paths.left_out_of(error.message)
        if isinstance(error, DrawingFailed):
            self._reporter.job_failed(message)
        self._claims.fail(claim, JobError(error.code, message))

    def _give_up(self, claim: Claim, failure: DeviceFailed) -> None:
        """End this process after the job: the device is not trusted with another one. The job runs again elsewhere."""
        error = self._paths.left_out_of(str(failure))
        self._end = ChildEnd(os.getpid(), "device", error, self._is_fresh)
        self._reporter.job_failed(error)
        status = self._claims.run_again(claim, failure.trouble, failure.failed_message)
        log.error("%s is %s now, and this process ends: %s", claim.job.id, status or "another worker's", failure)

    def _measure_memory(self) -> None:
        if self._memory is None:
            return
        self._memory.job_ended(has_drawn=self._has_drawn)
        if self._memory.is_past_bound:  # perhaps only because of the images that are being stored
            self._storing.wait()
            self._memory.job_ended(has_drawn=self._has_drawn)

    def _draw(self, claim: Claim, *, stores_behind: bool) -> None:
        """Draw the job's images, then store them or let the thread do it. Raises what ``_end_with`` handles."""
        request = claim.job.request
        # Where a job meets the death of its child a second time, no other job is in hand that could have caused it.
        is_alone = claim.job.attempts - claim.job.device_faults > 1
        if is_alone:
            self._storing.wait()
        started = time.perf_counter()
        progress = Progress(
            self._claims,
            claim,
            self._reporter.command,
            time_limit_s=self._time_limit_s,
            every_s=self._progress_every_s,
        )
        inputs = self._prepare(claim, progress)
        prepare_s = time.perf_counter() - started
        if request.adapters != self._last_selection:
            self._switches += 1
            self._last_selection = request.adapters
        generated = self._generate(claim, inputs, progress)
        self._has_drawn = True
        warnings = self._device.warnings_of(generated.images)
        drawn = Drawn(claim, inputs, generated, warnings, prepare_s, self._switches, progress.last_step)
        self._reporter.job_drawn(claim.job.id)
        self._storing.wait()
        self._reporter.task_started()  # the other job's storing is no time of this one's
        # The memory after the first image is that without any other images.
        stores_behind = stores_behind and not is_alone and not self._is_fresh
        self._switches = 0
        self._is_fresh = False
        if stores_behind:
            self._claims.more_wait = True
            self._reporter.job_storing(claim.job.id)
            self._storing.begin(lambda: self._store_behind(drawn))
        else:
            self._store(drawn)

    def _store(self, drawn: Drawn) -> None:
        seconds = store(self._claims, drawn)
        self._claims.count(stages_measured({"store": seconds["store"]}))
        self._reporter.stages_took(seconds)

    def _store_behind(self, drawn: Drawn) -> None:
        """Store the images in the thread, whose failure must not meet the job that is drawn meanwhile."""
        try:
            self._end_with(drawn.claim, lambda: self._store(drawn))
        except ServiceUnavailable as error:
            log.warning("%s: its images are not stored; it runs again: %s", drawn.claim.job.id, error)
        except Exception:
            log.exception("%s: its images are not stored; it runs again once its lease has ended", drawn.claim.job.id)
        finally:
            self._reporter.job_stored()

    def _prepare(self, claim: Claim, progress: Progress) -> InputImages | None:
        """Load the request's adapters into the engine and decode its input images."""
        if self._adapters is not None:
            self._adapters.prepare(claim.job.request)
        progress.check_command()
        if not claim.image:
            return None
        request = claim.job.request
        return decode_inputs(claim.image, claim.mask, Resolution(request.width, request.height), request.image_fit)

    def _generate(self, claim: Claim, inputs: InputImages | None, progress: Progress) -> Generated:
        # The runtime calls back in a thread of its own; the context gives that thread's log lines the job's fields.
        context = contextvars.copy_context()
        try:
            return self._engine.generate(claim.job.request, inputs, lambda step: context.run(progress.on_step, step))
        except DrawingFailed as failure:
            self._device.judge_failure(failure)
            raise
