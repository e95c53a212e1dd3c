"""The job store as the API sees it: submit, look up, cancel, fetch. Asynchronous; the worker's side is claims.py."""

import secrets

from config.settings import JobSettings, RedisSettings
from graphs.errors import ArtifactExpired, JobNotFound, QueueFull
from graphs.request import ResolvedRequest
from workers.jobs import keys
from workers.jobs.connection import connect_async, redis_errors
from workers.jobs.job import Job, Status, job_from_hash, new_job_id
from workers.jobs.presence import WorkerPresence, live_workers
from workers.jobs.scripts import job_keys, script

_QUEUE_FULL_RETRY_S = 10


class JobStore:
    """Jobs in Redis. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._jobs = jobs
        self._redis = connect_async(redis_settings)
        self._submit = self._redis.register_script(script("submit"))
        self._cancel = self._redis.register_script(script("cancel"))

    async def submit(self, request: ResolvedRequest, image: bytes = b"", mask: bytes = b"") -> Job:
        """Store a new job as queued, with its input images as PNG. Raises QueueFull."""
        job_id = new_job_id()
        fields = ["request", request.model_dump_json(exclude_defaults=True)]
        with redis_errors():
            outcome = await self._submit(
                keys=[*job_keys(job_id, request.graph), keys.SEQUENCE],
                args=[job_id, self._jobs.max_queued, image, mask, *fields],
            )
        if outcome == b"full":
            raise QueueFull(
                f"{self._jobs.max_queued} jobs wait for {request.graph!r} already; try again later.",
                retry_after_s=_QUEUE_FULL_RETRY_S,
            )
        # Otherwise it is queued, or b"exists": the answer to the first try was lost, and redis-py asked again.
        return await self.get(job_id)

    async def get(self, job_id: str) -> Job:
        """Return a job. Raises JobNotFound."""
        with redis_errors():
            stored = await self._redis.hgetall(keys.job(job_id))
        if not stored:
            raise JobNotFound(f"There is no job {job_id!r}; records are kept for {self._jobs.record_ttl_s} s.")
        return job_from_hash(job_id, stored)

    async def queue_position(self, job: Job) -> int | None:
        """Return how many jobs of the same graph go first (0 = next), or None when the job does not wait."""
        if job.status is not Status.QUEUED:
            return None
        with redis_errors():
            rank = await self._redis.zrank(keys.queued(job.request.graph), job.id)
        return None if rank is None else int(rank)

    async def artifacts(self, job: Job) -> list[bytes]:
        """Return a completed job's encoded pictures. Raises ArtifactExpired."""
        with redis_errors():
            found = await self._redis.mget([keys.artifact(job.id, index) for index in range(job.artifacts)])
        if not found or any(picture is None for picture in found):
            raise ArtifactExpired(f"The pictures of {job.id} were kept for {self._jobs.result_ttl_s} s and are gone.")
        return list(found)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once while it waits, at its next step while it runs. Raises JobNotFound."""
        job = await self.get(job_id)
        with redis_errors():
            await self._cancel(keys=job_keys(job_id, job.request.graph), args=[job_id, self._jobs.record_ttl_s])
        return await self.get(job_id)

    async def workers(self) -> list[WorkerPresence]:
        """Return the workers that gave a sign of life lately."""
        with redis_errors():
            return live_workers(await self._redis.hgetall(keys.WORKERS), (await self._redis.time())[0])

    async def signing_key(self) -> str:
        """Return the key that all API processes on this Redis sign URLs with, made at its first use."""
        with redis_errors():
            await self._redis.set(keys.SIGNING_KEY, secrets.token_hex(32), nx=True)
            key: bytes = await self._redis.get(keys.SIGNING_KEY)
        return key.decode()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
