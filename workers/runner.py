"""One job's story, in plain Python: claim it, draw it, store it, or say why not."""

import logging
import time

from graphs.errors import EngineError, ServiceUnavailable
from workers.engine.images import decode_inputs, encode
from workers.engine.protocol import Engine, GenerationCancelled, Step
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import JobError

log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another worker has the job now; whatever was drawn here is dropped."""


class Runner:
    """Runs jobs one after the other on one loaded engine."""

    def __init__(self, claims: Claims, engine: Engine) -> None:
        self._claims, self._engine = claims, engine

    def run(self, job_id: str) -> None:
        """Run a job to its end. Never raises for what the job or its model does wrong."""
        claim = self._claims.claim(job_id)
        if claim is None:
            log.info("%s is over, or runs elsewhere: nothing to do", job_id)
            return
        log.info("%s claimed (attempt %d)", job_id, claim.job.attempts + 1)
        try:
            self._draw(claim)
        except GenerationCancelled:
            self._claims.cancelled(claim)
            log.info("%s cancelled", job_id)
        except ClaimLost:
            log.warning("%s was given to another worker; its result here is dropped", job_id)
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
        inputs = decode_inputs(claim.image, claim.mask) if claim.image else None
        generated = self._engine.generate(request, inputs, lambda step: self._on_step(claim, step))
        started = time.perf_counter()
        pictures = [encode(image, request.output_format, request.output_compression) for image in generated.images]
        seconds = {**generated.seconds, "encode": time.perf_counter() - started}
        if not self._claims.complete(claim, pictures, seconds):
            raise ClaimLost
        log.info("%s completed in %.2f s", claim.job.id, seconds.get("generate", 0.0))

    def _on_step(self, claim: Claim, step: Step) -> bool:
        """Record the step; True stops the engine."""
        try:
            answer = self._claims.progress(claim, step.number, step.total)
        except ServiceUnavailable as error:
            # The picture matters more than its progress: the claim is proved again when it is stored.
            log.warning("%s: step %d not recorded: %s", claim.job.id, step.number, error)
            return False
        if answer == "lost":
            raise ClaimLost
        return answer == "cancel"
