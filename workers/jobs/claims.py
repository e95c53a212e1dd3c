"""The job store as a worker sees it: claim, progress, finish. Synchronous; the API's side is store.py.

A claim's token goes into every later call: a worker that lost its claim (its lease ran out, another one runs the
job) writes nothing any more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import JobSettings, RedisSettings
from workers.jobs import keys
from workers.jobs.connection import connect, redis_errors
from workers.jobs.job import Job, JobError, Status, job_from_hash
from workers.jobs.scripts import job_keys, script

# Some two minutes with the waits between: a finished picture is not thrown away because Redis was away.
_FINISH_RETRIES = 60


@dataclass(frozen=True)
class Claim:
    """A job that this worker owns, with its input images as PNG."""

    job: Job
    token: str
    image: bytes | None
    mask: bytes | None


class Claims:
    """Claims on jobs, held by one worker process under the name ``owner``."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings, owner: str) -> None:
        self._jobs, self._owner = jobs, owner
        self._redis = connect(redis_settings, retries=_FINISH_RETRIES)
        self._quick = connect(redis_settings, retries=0)
        self._claim = self._redis.register_script(script("claim"))
        self._finish = self._redis.register_script(script("finish"))
        self._progress = self._quick.register_script(script("progress"))

    def claim(self, job_id: str) -> Claim | None:
        """Claim a job; None when it is over, unknown, or another worker runs it."""
        with redis_errors():
            stored = self._redis.hgetall(keys.job(job_id))
            if not stored:
                return None
            job = job_from_hash(job_id, stored)
            outcome, token = self._claim(
                keys=job_keys(job_id, job.request.graph),
                args=[
                    job_id,
                    self._owner,
                    int(self._jobs.lease_s * 1000),
                    self._jobs.max_attempts,
                    self._jobs.record_ttl_s,
                ],
            )
            if outcome != b"claimed":
                return None
            images = self._redis.mget([keys.image(job_id), keys.mask(job_id)])
        return Claim(job, token.decode(), *images)

    def progress(self, claim: Claim, step: int, total_steps: int) -> str:
        """Record a step. Returns 'go on', 'cancel', or 'lost' when the claim no longer holds."""
        with redis_errors():
            answer: bytes = self._progress(
                keys=job_keys(claim.job.id, claim.job.request.graph), args=[claim.token, step, total_steps]
            )
        return answer.decode()

    def complete(self, claim: Claim, pictures: Sequence[bytes], seconds: Mapping[str, float]) -> bool:
        """Store the encoded pictures and end the job; False when the claim no longer holds."""
        rounded = {stage: round(value, 6) for stage, value in seconds.items()}
        fields = ["artifacts", len(pictures), "seconds", json.dumps(rounded)]
        return self._end(claim, Status.COMPLETED, fields, pictures)

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with a reason; False when the claim no longer holds."""
        return self._end(claim, Status.FAILED, ["error", json.dumps(error.__dict__)])

    def cancelled(self, claim: Claim) -> bool:
        """End the job as cancelled; False when the claim no longer holds."""
        return self._end(claim, Status.CANCELLED, [])

    def _end(self, claim: Claim, status: Status, fields: list[Any], pictures: Sequence[bytes] = ()) -> bool:
        job = claim.job
        ttls = [self._jobs.record_ttl_s, self._jobs.result_ttl_s]
        with redis_errors():
            done = self._finish(
                keys=job_keys(job.id, job.request.graph) + [keys.artifact(job.id, i) for i in range(len(pictures))],
                args=[job.id, claim.token, status.value, *ttls, len(pictures), *pictures, *fields],
            )
        return bool(done)
