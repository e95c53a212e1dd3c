"""One job's story, in plain Python: claim it, draw it, store it, or say why not."""

import contextvars
import logging
import time
from collections.abc import Callable

from config.log_context import logged_with
from graphs.errors import EngineError, ServiceUnavailable, StoreFull
from graphs.requests.request import AdapterSelection, ResolvedRequest
from workers.engine.images import decode_inputs, encode
from workers.engine.protocol import Engine, GenerationCancelled, Step
from workers.jobs.claims import Claim, Claims, Preview
from workers.jobs.job import JobError, overdue_error
from workers.jobs.observe.measures import stages_measured
from workers.process.orders import Order

log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another worker has the job now; whatever was drawn here is dropped."""


class Overdue(Exception):
    """The job has run for as long as any may."""


class HandBack(Exception):
    """This worker is to stop, and others can do the job sooner than it."""


class Runner:
    """Runs jobs one after the other on one loaded engine.

    ``now_running`` is told the id of the job that runs, and None in between: the main process renews its lease.
    ``now_storing`` is told the id of a job that is drawn: no time limit holds while its pictures wait to be stored.
    A job that runs longer than ``time_limit_s`` fails at its next step.
    ``prepare`` makes the engine ready for a request (its adapters), or raises EngineError. ``order`` says how to go on.
    """

    def __init__(
        self,
        claims: Claims,
        engine: Engine,
        graph: str,
        now_running: Callable[[str | None], None] = lambda _: None,
        prepare: Callable[[ResolvedRequest], None] = lambda _: None,
        order: Callable[[], Order] = lambda: Order.GO_ON,
        *,
        now_storing: Callable[[str], None] = lambda _: None,
        time_limit_s: int = 2**31,
    ) -> None:
        self._claims, self._engine, self._graph = claims, engine, graph
        self._now_running, self._prepare, self._order = now_running, prepare, order
        self._now_storing, self._time_limit_s, self._ends_at = now_storing, time_limit_s, float("inf")
        # How often other adapters were chosen than before, since the last job that was completed.
        self._last_adapters: tuple[AdapterSelection, ...] = ()
        self._switches = 0

    def run_next(self) -> None:
        """Take the next job of the graph and run it to its end. Never raises for what a job or its model does."""
        if self._order() is not Order.GO_ON:
            log.info("this worker stops and takes no more jobs")
            return
        claim = self._claims.claim_next(self._graph)
        if claim is None:
            log.debug("no job waits for %r", self._graph)
            return
        self._now_running(claim.job.id)
        self._ends_at = time.monotonic() + self._time_limit_s
        try:
            self._run(claim)
        finally:
            self._now_running(None)

    def _run(self, claim: Claim) -> None:
        job = claim.job
        about = {"job_id": job.id, "attempt": job.attempts, "graph": self._graph}
        with logged_with(request_id=job.options.request_id, **about):
            self._run_to_its_end(claim)

    def _run_to_its_end(self, claim: Claim) -> None:
        job_id = claim.job.id
        log.info("%s claimed (attempt %d)", job_id, claim.job.attempts)
        try:
            self._draw(claim)
        except GenerationCancelled:
            self._claims.cancelled(claim)
            log.info("%s cancelled", job_id)
        except HandBack:
            self._claims.hand_back(claim)
            log.warning("%s handed back: this worker stops", job_id)
        except ClaimLost:
            log.warning("%s was given to another worker or erased; its result here is dropped", job_id)
        except Overdue:
            log.error("%s stopped after %d s", job_id, self._time_limit_s)
            self._claims.fail(claim, overdue_error(self._time_limit_s))
        except StoreFull as error:
            log.error("%s failed: its pictures found no room", job_id)
            self._claims.fail(claim, JobError(error.code, f"The picture could not be kept. {error.message}"))
        except EngineError as error:
            log.error("%s failed: %s", job_id, error)
            self._claims.fail(claim, JobError(error.code, error.message))
        except ServiceUnavailable:
            raise
        except Exception:  # the last line of defence: the job must end, and the trace must reach the log
            log.exception("%s failed in a way that nobody foresaw", job_id)
            self._claims.fail(claim, JobError("internal_error", "The server failed while it drew the picture."))

    def _draw(self, claim: Claim) -> None:
        request = claim.job.request
        started = time.perf_counter()
        self._prepare(request)
        self._check_order()
        inputs = decode_inputs(claim.image, claim.mask) if claim.image else None
        prepare_s = time.perf_counter() - started
        if request.adapters != self._last_adapters:
            self._switches, self._last_adapters = self._switches + 1, request.adapters
        # The runtime calls back in a thread of its own, whose log lines are about this job as well.
        context = contextvars.copy_context()
        generated = self._engine.generate(request, inputs, lambda step: context.run(self._on_step, claim, step))
        started = time.perf_counter()
        pictures = [encode(image, request.output_format, request.output_compression) for image in generated.images]
        seconds = {**generated.seconds, "encode": time.perf_counter() - started}
        measured = stages_measured({**seconds, "prepare": prepare_s}, generated.steps_s)
        measured["adapter_switches"] = self._switches
        self._now_storing(claim.job.id)
        started = time.perf_counter()
        if not self._claims.complete(claim, pictures, seconds, measured):
            raise ClaimLost
        self._claims.count(self._graph, stages_measured({"store": time.perf_counter() - started}))
        self._switches = 0
        log.info("%s completed in %.2f s", claim.job.id, seconds.get("generate", 0.0))

    def _on_step(self, claim: Claim, step: Step) -> bool:
        """Record the step; True stops the engine."""
        self._check_order()
        log.debug("step %d of %d", step.number, step.total)
        try:
            answer = self._claims.progress(claim, step.number, step.total, self._preview(claim, step))
        except ServiceUnavailable as error:
            # The picture matters more than its progress: the claim is proved again when it is stored.
            log.warning("%s: step %d not recorded: %s", claim.job.id, step.number, error)
            answer = "go on"
        if answer == "lost":
            raise ClaimLost
        if answer != "cancel" and time.monotonic() >= self._ends_at:
            raise Overdue
        return answer == "cancel"

    def _check_order(self) -> None:
        if self._order() is Order.HAND_BACK:
            raise HandBack

    def _preview(self, claim: Claim, step: Step) -> Preview | None:
        """Return a partial image where one is due: evenly spaced over each image's steps, none at the last."""
        request, wanted = claim.job.request, claim.job.options.previews
        if not wanted or step.preview is None:
            return None
        steps = max(1, step.total // request.num_images_per_prompt)
        image_index, step_of_image = divmod(step.number - 1, steps)
        due = sorted({round(steps * (number + 1) / (wanted + 1)) for number in range(wanted)} - {0, steps})
        if step_of_image + 1 not in due:
            return None
        picture = encode(step.preview(), request.output_format, request.output_compression)
        return Preview(image_index, due.index(step_of_image + 1), picture)
