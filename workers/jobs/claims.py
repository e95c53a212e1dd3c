"""The job store as a worker sees it: claim, progress, finish. Synchronous; the API's side is store.py.

A claim's token goes into every later call: a worker that lost its claim (its lease ran out, another one runs the
job) writes nothing any more.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import JobSettings, RedisSettings
from graphs.errors import ServiceUnavailable, StoreFull
from workers.jobs.job import Job, JobError, Status, job_from_hash
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.scripts import script, script_arguments, script_keys

log = logging.getLogger(__name__)

# Some two minutes with the waits between: a finished picture is not thrown away because Redis was away.
_FINISH_RETRIES = 60
_NO_ROOM = -1
# In a full Redis the pictures of earlier jobs make room when they expire, so that is how long a new one is held.
_ROOM_CHECK_S = 1.0
_ROOM_MARGIN_S = 60.0


@dataclass(frozen=True)
class Claim:
    """A job that this worker owns, with its input images as PNG."""

    job: Job
    token: str
    image: bytes | None
    mask: bytes | None


@dataclass(frozen=True)
class Preview:
    """A partial image: of which picture, its how-manieth, and its PNG."""

    image_index: int
    partial_image_index: int
    picture: bytes


class Claims:
    """Claims on jobs, held by one worker process under the name ``worker``."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings, worker: str) -> None:
        self._jobs, self._worker = jobs, worker
        self._redis = connect(redis_settings, retries=_FINISH_RETRIES)
        self._quick = connect(redis_settings, retries=0)
        self._claim = self._redis.register_script(script("claim"))
        self._finish = self._redis.register_script(script("finish"))
        self._progress = self._quick.register_script(script("progress"))
        self._hand_back = self._quick.register_script(script("hand_back"))

    def claim_next(self, graph: str) -> Claim | None:
        """Claim the job that is first in a graph's queue; None when none waits."""
        # redis-py asks again when an answer is lost: the same nonce is the same claim.
        limits = [int(self._jobs.lease_s * 1000), self._jobs.max_attempts, secrets.token_hex(8)]
        with redis_errors():
            claimed = self._claim(
                keys=script_keys(graph, [keys.fairness(graph)]),
                args=script_arguments(self._jobs, self._worker, *limits),
            )
            if not claimed:
                return None
            job_id, token = (part.decode() for part in claimed)
            stored = self._redis.hgetall(keys.job(job_id))
            images = self._redis.mget([keys.image(job_id), keys.mask(job_id)])
        # Erased between the two: nobody wants it any more.
        return Claim(job_from_hash(job_id, stored), token, *images) if b"request" in stored else None

    def progress(self, claim: Claim, step: int, total_steps: int, preview: Preview | None = None) -> str:
        """Record a step. Returns 'go on', 'cancel', or 'lost' when the claim no longer holds."""
        more: list[Any] = [claim.job.id, claim.token, step, total_steps]
        if preview is not None:
            more += [preview.image_index, preview.partial_image_index, preview.picture]
        with redis_errors():
            answer: bytes = self._progress(
                keys=script_keys(claim.job.request.graph), args=script_arguments(self._jobs, *more)
            )
        return answer.decode()

    def complete(
        self,
        claim: Claim,
        pictures: Sequence[bytes],
        seconds: Mapping[str, float],
        measured: Mapping[str, int] | None = None,
    ) -> bool:
        """Store the encoded pictures and end the job; False when the claim no longer holds.

        ``seconds`` by stage stay with the job; ``measured`` is added to the graph's metrics in the same step.
        In a full Redis it waits for room, as long as pictures are kept. Raises StoreFull when none comes.
        """
        rounded = {stage: round(value, 6) for stage, value in seconds.items()}
        fields = ["artifacts", len(pictures), "seconds", json.dumps(rounded)]
        fields += ["measured", json.dumps({**_drawn(claim, pictures), **(measured or {})})]
        give_up_at = time.monotonic() + self._jobs.result_ttl_s + _ROOM_MARGIN_S
        waits = False
        while (outcome := self._end(claim, Status.COMPLETED, fields, pictures)) == _NO_ROOM:
            if time.monotonic() > give_up_at:
                raise StoreFull
            if not waits:
                log.warning("%s is drawn, but Redis is full; its pictures wait for room", claim.job.id)
            waits = True
            threading.Event().wait(_ROOM_CHECK_S)
        return bool(outcome)

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with a reason; False when the claim no longer holds."""
        return bool(self._end(claim, Status.FAILED, ["error", json.dumps(error.__dict__)]))

    def cancelled(self, claim: Claim) -> bool:
        """End the job as cancelled; False when the claim no longer holds."""
        return bool(self._end(claim, Status.CANCELLED, []))

    def hand_back(self, claim: Claim) -> bool:
        """Put the job back to its place in the queue, its attempt not counted; False when the claim no longer holds.

        Tried once only: where Redis is away just then, the lease runs out, which does the same and counts.
        """
        with redis_errors():
            done = self._hand_back(
                keys=script_keys(claim.job.request.graph),
                args=script_arguments(self._jobs, claim.job.id, "token", claim.token),
            )
        return bool(done)

    def count(self, graph: str, added: Mapping[str, int]) -> None:
        """Add to a graph's metrics what is known only after a transition; lost where Redis is away just now."""
        try:
            with redis_errors():
                pipeline = self._quick.pipeline(transaction=False)
                for field, by in added.items():
                    pipeline.hincrby(keys.metrics(graph), field, by)
                pipeline.execute()
        except ServiceUnavailable as error:
            log.debug("not counted: %s", error)

    def _end(self, claim: Claim, status: Status, fields: list[Any], pictures: Sequence[bytes] = ()) -> int:
        job, graph = claim.job, claim.job.request.graph
        places = [keys.artifact(job.id, index) for index in range(len(pictures))]
        with redis_errors():
            done = self._finish(
                keys=script_keys(graph, [keys.pace(graph), *places]),
                args=script_arguments(self._jobs, job.id, claim.token, status.value, len(pictures), *pictures, *fields),
            )
        return int(done)


def _drawn(claim: Claim, pictures: Sequence[bytes]) -> dict[str, int]:
    request = claim.job.request
    return {"images": len(pictures), "pixels": len(pictures) * request.width * request.height}
