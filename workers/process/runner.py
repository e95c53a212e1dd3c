"""One job from claim to end, without Celery: claim it, draw it, store the images, or record why that failed."""

import contextvars
import logging
import os
import time
from collections.abc import Mapping
from typing import Protocol

from config.log_context import logged_with
from config.traceparent import trace_id
from graphs.errors import EngineError, ServiceUnavailable, StoreFull
from graphs.requests.request import AdapterSelection
from graphs.resolution import Resolution
from workers.engine.images import decode_inputs, encode
from workers.engine.mask_composite import composited
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
from workers.process.shared_memory import ChildCommand

log = logging.getLogger(__name__)

# The main process looks every second whether its child is past its bound.
_REPLACED_WITHIN_S = 30.0
# For how long a task of Celery takes one job after the other; Celery would deliver its message again after an hour.
_TAKES_JOBS_S = 300.0
# For how long a child without a job looks for messages itself: the way through Celery costs more than a claim.
LOOKS_FOR_MESSAGES_S = 2.0
_ONE_LOOK_S = 0.25


class Reporter(Protocol):
    """The runner's connection to the main process of its worker."""

    def task_started(self) -> None:
        """Report that a task begins: the main process ends a child whose task takes far too long."""
        ...

    def task_ended(self) -> None:
        """Report that no task runs any more."""
        ...

    def job_started(self, job_id: str) -> None:
        """Report that a job runs: from now on the main process renews its lease."""
        ...

    def job_drawn(self, job_id: str, seconds: Mapping[str, float]) -> None:
        """Report that the job's images wait to be stored: no time limit applies to that. ``seconds``: by stage."""
        ...

    def device_checked(self) -> None:
        """Report that the known picture is drawn, to check the device."""
        ...

    def job_failed(self, error: str) -> None:
        """Report why a job failed, in a sentence without paths."""
        ...

    def job_ended(self) -> None:
        """Report that no job runs any more."""
        ...

    def end_child(self, end: ChildEnd) -> None:
        """End this process, so that a fresh one loads the model."""
        ...

    def command(self) -> ChildCommand:
        """Return the main process's current command."""
        ...


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
        # Whether this process has completed no job yet, and why it ends, once it does.
        self._is_fresh = True
        self._end: ChildEnd | None = None
        self._last_selection: tuple[AdapterSelection, ...] = ()
        # How often the adapters changed from one job to the next, since the last completed job.
        self._switches = 0

    def run_waiting(self) -> None:
        """Run one job after the other while some wait, and those of the next seconds. Raises ServiceUnavailable.

        So a message need only wake a worker that is idle (lua/shared.lua, ``wake``).
        """
        ends_at = time.monotonic() + _TAKES_JOBS_S
        while True:
            has_run = self.run_next()
            if self._end is not None or time.monotonic() >= ends_at:
                return
            if not (has_run and self._claims.more_wait) and not self._message_comes():
                return

    def _message_comes(self) -> bool:
        """Wait for a message that wakes a worker; return whether one came, which is then this child's."""
        ends_at = time.monotonic() + self._looks_for_messages_s
        while time.monotonic() < ends_at and self._takes_jobs():
            message = self._claims.take_message(self._graph, _ONE_LOOK_S)
            if message is None:
                continue
            if self._takes_jobs():
                return True
            self._claims.give_back(message)
        return False

    def _takes_jobs(self) -> bool:
        is_past_bound = self._memory is not None and self._memory.is_past_bound
        return self._reporter.command() is ChildCommand.CONTINUE and not is_past_bound

    def run_next(self) -> bool:
        """Run the next job of the graph to its end, if one waits; return whether one did. Raises ServiceUnavailable."""
        self._reporter.task_started()
        try:
            return self._run_next()
        finally:
            self._reporter.task_ended()

    def _run_next(self) -> bool:
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
                self._run(claim)
        finally:
            self._reporter.job_ended()
            if self._memory is not None:
                self._memory.job_ended(has_drawn=self._has_drawn)
            if self._end is not None:
                self._reporter.end_child(self._end)
        return self._end is None

    def _run(self, claim: Claim) -> None:
        """Draw the job and store its images; an exception that prevents it decides how the job ends."""
        job_id = claim.job.id
        log.info("%s claimed (attempt %d)", job_id, claim.job.attempts)
        try:
            self._complete(claim)
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

    def _complete(self, claim: Claim) -> None:
        request = claim.job.request
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
        generated = self._draw(claim, inputs, progress)
        self._has_drawn = True
        warnings = self._device.warnings_of(generated.images)
        started = time.perf_counter()
        drawn = generated.images
        if request.mask_composite and inputs is not None:
            drawn = [composited(image, inputs, request.mask_feather_px) for image in drawn]
        images = [encode(image, request.output_format, request.output_compression) for image in drawn]
        seconds = {**generated.seconds, "encode": time.perf_counter() - started}
        of_stages = {"prepare": prepare_s, **seconds}
        measured = stages_measured(of_stages, generated.steps_s)
        measured["adapter_switches"] = self._switches
        if warnings:
            measured["one_value_images"] = 1
        self._reporter.job_drawn(claim.job.id, of_stages)
        started = time.perf_counter()
        if not self._claims.complete(claim, images, seconds, measured, warnings, generated.steps_s, progress.last_step):
            raise ClaimLost
        self._claims.count(stages_measured({"store": time.perf_counter() - started}))
        self._switches = 0
        self._is_fresh = False
        log.info("%s completed in %.2f s", claim.job.id, seconds.get("generate", 0.0))

    def _prepare(self, claim: Claim, progress: Progress) -> InputImages | None:
        """Load the request's adapters into the engine and decode its input images."""
        if self._adapters is not None:
            self._adapters.prepare(claim.job.request)
        progress.check_command()
        if not claim.image:
            return None
        request = claim.job.request
        return decode_inputs(claim.image, claim.mask, Resolution(request.width, request.height), request.image_fit)

    def _draw(self, claim: Claim, inputs: InputImages | None, progress: Progress) -> Generated:
        # The runtime calls back in a thread of its own; the context gives that thread's log lines the job's fields.
        context = contextvars.copy_context()
        try:
            return self._engine.generate(claim.job.request, inputs, lambda step: context.run(progress.on_step, step))
        except DrawingFailed as failure:
            self._device.judge_failure(failure)
            raise
