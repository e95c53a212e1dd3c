"""One job's story, in plain Python: claim it, draw it, store it, or say why not."""

import contextvars
import logging
import time
from collections.abc import Callable

from config.log_context import logged_with
from graphs.errors import EngineError, ServiceUnavailable
from graphs.request import AdapterSelection, ResolvedRequest
from workers.engine.images import decode_inputs, encode
from workers.engine.protocol import Engine, GenerationCancelled, Step
from workers.jobs.claims import Claim, Claims, Preview
from workers.jobs.job import JobError
from workers.jobs.measures import stages_measured

log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another worker has the job now; whatever was drawn here is dropped."""


class Runner:
    """Runs jobs one after the other on one loaded engine.

    ``now_running`` is told the id of the job that runs, and None in between: the main process renews its lease.
    ``prepare`` makes the engine ready for a request (its adapters), or raises EngineError.
    """

    def __init__(
        self,
        claims: Claims,
        engine: Engine,
        graph: str,
        now_running: Callable[[str | None], None] = lambda _: None,
        prepare: Callable[[ResolvedRequest], None] = lambda _: None,
    ) -> None:
        self._claims, self._engine, self._graph = claims, engine, graph
        self._now_running, self._prepare = now_running, prepare
        # How often other adapters were chosen than before, since the last job that was completed.
        self._last_adapters: tuple[AdapterSelection, ...] = ()
        self._switches = 0

    def run_next(self) -> None:
        """Take the next job of the graph and run it to its end. Never raises for what a job or its model does."""
        claim = self._claims.claim_next(self._graph)
        if claim is None:
            log.debug("no job waits for %r", self._graph)
            return
        self._now_running(claim.job.id)
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
        except ClaimLost:
            log.warning("%s was given to another worker or erased; its result here is dropped", job_id)
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
        started = time.perf_counter()
        if not self._claims.complete(claim, pictures, seconds, measured):
            raise ClaimLost
        self._claims.count(self._graph, stages_measured({"store": time.perf_counter() - started}))
        self._switches = 0
        log.info("%s completed in %.2f s", claim.job.id, seconds.get("generate", 0.0))

    def _on_step(self, claim: Claim, step: Step) -> bool:
        """Record the step; True stops the engine."""
        log.debug("step %d of %d", step.number, step.total)
        try:
            answer = self._claims.progress(claim, step.number, step.total, self._preview(claim, step))
        except ServiceUnavailable as error:
            # The picture matters more than its progress: the claim is proved again when it is stored.
            log.warning("%s: step %d not recorded: %s", claim.job.id, step.number, error)
            return False
        if answer == "lost":
            raise ClaimLost
        return answer == "cancel"

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
