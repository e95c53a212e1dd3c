"""The job store as the API uses it: submit, look up, cancel, fetch. Asynchronous; the worker's side is claims.py.

Look-ups take the owner of the request; for a job of another owner they raise JobNotFound. A client finds a job by its
id, or by the name that it chose, a name among the jobs of its owner only. Every script compares the owner itself.
"""

import re
import secrets
from contextlib import suppress
from dataclasses import replace

from config.settings import JobSettings, RedisSettings
from graphs.errors import (
    AdaptersChanged,
    ArtifactExpired,
    ConfigurationError,
    IdempotencyConflict,
    JobNotFound,
    ServiceUnavailable,
    StoreFull,
)
from workers.jobs.job import Job, is_new_id, job_from_hash, new_job_id
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.observe.worker_table import WorkerTable
from workers.jobs.redis.connection import connect_async, redis_errors, redis_url
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.layout import check_layout_async
from workers.jobs.redis.script import ScriptCall
from workers.jobs.redis.scripts import CANCEL, ERASE, SUBMIT, WAITERS
from workers.jobs.redis.sentinel_address import is_sentinel
from workers.jobs.refusals import refusal
from workers.jobs.status import Status
from workers.jobs.submission import Idempotency as Idempotency
from workers.jobs.submission import Submission as Submission  # where most modules look for it
from workers.jobs.submission import queued_job, submit_call

# How often ended jobs may make room for a submission, up to MOST_EVICTED of lua/keeping.lua at once.
_MOST_EVICTIONS = 100
# What an id may be; no other text becomes a part of a key.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class JobStore:
    """Jobs in Redis. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._jobs = jobs
        self._settings = redis_settings
        self._may_fail_over = is_sentinel(redis_url(redis_settings))
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._submit = self._redis.register_script(SUBMIT.source(self._keys))
        self._cancel = self._redis.register_script(CANCEL.source(self._keys))
        self._erase = self._redis.register_script(ERASE.source(self._keys))
        self._table = WorkerTable(self._redis, redis_settings)
        self._waiters = self._redis.register_script(WAITERS.source(self._keys))
        self._last_signing_key: bytes | None = None

    async def submit(self, submission: Submission, queue: str = "", message: str = "") -> tuple[Job, bool]:
        """Store a new job as queued. Returns it, and whether it is new: an equal request joins its earlier job.

        ``message`` goes to the Celery queue of that name in the same step, unless one waits there (broker.py). Where
        the owner keeps as much as it may, its oldest ended jobs make room.

        Raises QueueFull, StoreFull, RequestTooLarge for a request that fits no queue, IdempotencyConflict when the key
        or the name belongs to another request of the owner, AdaptersChanged where the added adapters are others than
        those of the submission, or ServiceUnavailable where too few replicas confirm the job, which is taken back.
        """
        job_id = new_job_id()
        owner = submission.options.owner
        call = submit_call(self._keys, self._jobs, job_id, submission, queue, message)
        outcome = "evicting"
        copies = 0
        for _ in range(_MOST_EVICTIONS):
            with redis_errors():
                reply, copies = await self._submit_and_copy(call)
            outcome, found, *numbers = (part.decode() if isinstance(part, bytes) else str(part) for part in reply)
            if outcome != "evicting":
                break
        if outcome == "other adapters":
            raise AdaptersChanged
        if outcome == "evicting":
            raise StoreFull
        if outcome == "full":
            graph = submission.request.graph
            raise await refusal(
                self._redis, self._keys, self._jobs, graph, owner, found, [int(number) for number in numbers]
            )
        if outcome == "conflict":
            raise IdempotencyConflict("This idempotency key or job id came with another request before; use a new one.")
        # A fresh id that is already known: redis-py sent the command twice, because the first reply was lost.
        is_new = outcome == "queued" or found == job_id
        if outcome == "queued":
            job = queued_job(job_id, submission, int(numbers[0]), float(numbers[1]))
        else:
            job = await self._joined(found, owner)
        if copies < self._settings.wait_replicas:
            await self._take_back(job, is_new=is_new)
            raise self._not_copied(copies)
        return job, is_new

    async def _joined(self, job_id: str, owner: str) -> Job:
        try:
            return await self.get(job_id, owner)
        except JobNotFound as error:
            if not self._may_fail_over:  # its owner has deleted it since
                raise
            # Another server has become the primary since, and does not have it.
            raise ServiceUnavailable("The job store (Redis) lost the job just now; send it again.") from error

    async def _submit_and_copy(self, call: ScriptCall) -> tuple[list[bytes], int]:
        """Return the script's reply, and how many replicas have what it wrote; 0 where none must have it."""
        if not self._settings.wait_replicas:
            return await self._submit(**call), 0
        # In one pipeline, because WAIT means what its own connection wrote.
        pipeline = self._redis.pipeline(transaction=False)
        await self._submit(**call, client=pipeline)
        pipeline.wait(self._settings.wait_replicas, int(self._settings.wait_replicas_timeout_s * 1000))
        reply, copies = await pipeline.execute()
        return reply, int(copies)

    async def _take_back(self, job: Job, *, is_new: bool) -> None:
        """Remove a job that is not accepted, unless another request has joined it; its client may send it again.

        Where this fails, an equal request with the same idempotency key joins the job.
        """
        with suppress(ServiceUnavailable):
            if is_new:
                await self._erase_if(job, if_alone=1)
            else:
                await self.add_waiter(job, -1)

    def _not_copied(self, copies: int) -> ServiceUnavailable:
        wanted = self._settings.wait_replicas
        return ServiceUnavailable(
            f"The job store (Redis) could not copy the job to {wanted} replica{'' if wanted == 1 else 's'} within "
            f"{self._settings.wait_replicas_timeout_s:g} s, so it was not accepted; send it again.",
            reason=f"{copies} confirmed it.",
        )

    async def get(self, job_id: str, owner: str | None) -> Job:
        """Return the job with this id; ``owner`` None finds a job of any owner. Raises JobNotFound."""
        if not ID.fullmatch(job_id):
            raise self._not_found(job_id)
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hgetall(self._keys.job(job_id))
            pipeline.get(self._keys.signing_key)
            stored, self._last_signing_key = await pipeline.execute()
        job = job_from_hash(job_id, stored) if b"request" in stored else None
        if job is None or owner not in (None, job.options.owner):
            raise self._not_found(job_id)
        return job

    async def ended(self, job: Job) -> Job:
        """Return a job as it is now, read together with its artifacts, where it has all of them. Raises JobNotFound."""
        images = job.request.num_images_per_prompt
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hgetall(self._keys.job(job.id))
            pipeline.mget([self._keys.artifact(job.id, index) for index in range(images)])
            stored, artifacts = await pipeline.execute()
        if b"request" not in stored:
            raise self._not_found(job.name)
        found = job_from_hash(job.id, stored)
        has_all = found.artifacts == images and None not in artifacts
        return replace(found, loaded_artifacts=tuple(artifacts)) if has_all else found

    async def find(self, name: str, owner: str) -> Job:
        """Return the owner's job with this name or id. Raises JobNotFound."""
        try:
            if is_new_id(name):  # few clients choose a name of the form of our own ids
                with suppress(JobNotFound):
                    return await self.get(name, owner)
            # A name is the id itself where the job is from before names were kept (LAYOUT_VERSION).
            return await self.get(await self._id_of(name, owner) or name, owner)
        except JobNotFound as error:
            raise self._not_found(name) from error

    async def status(self, job_id: str) -> Status:
        """Return the status of a job and read nothing else of it. Raises JobNotFound."""
        with redis_errors():
            status = await self._redis.hget(self._keys.job(job_id), "status")
        if status is None:
            raise JobNotFound(f"There is no job {job_id[:100]!r} any more.")
        return Status(status.decode())

    async def was_emptied_since(self, job: Job) -> bool:
        """Return whether Redis has lost its data since this job was accepted: its counter of jobs began anew."""
        with redis_errors():
            return int(await self._redis.get(self._keys.sequence) or 0) < job.sequence

    async def artifacts(self, job: Job) -> list[bytes]:
        """Return the artifacts of a completed job. Raises ArtifactExpired."""
        if job.loaded_artifacts is not None:
            return list(job.loaded_artifacts)
        with redis_errors():
            found = await self._redis.mget([self._keys.artifact(job.id, index) for index in range(job.artifacts)])
        artifacts = [artifact for artifact in found if artifact is not None]
        if not artifacts or len(artifacts) < len(found):
            raise ArtifactExpired(f"The images of {job.name} were kept for {self._jobs.result_ttl_s} s and are gone.")
        return artifacts

    async def cancel(self, job: Job) -> Job:
        """Cancel a job: at once while it waits, at its next step while it runs; no effect once it has ended."""
        with redis_errors():
            await self._cancel(
                **CANCEL.of(self._keys, job.request.graph, self._jobs, job_id=job.id, owner=job.options.owner)
            )
        return await self.get(job.id, None)

    async def erase(self, job: Job) -> None:
        """Cancel a job and delete everything that is stored of it."""
        await self._erase_if(job, if_alone=0)

    async def _erase_if(self, job: Job, *, if_alone: int) -> None:
        call = ERASE.of(
            self._keys,
            job.request.graph,
            self._jobs,
            job_id=job.id,
            owner=job.options.owner,
            if_alone=if_alone,
        )
        with redis_errors():
            await self._erase(**call)

    async def add_waiter(self, job: Job, change: int) -> int:
        """Change the number of clients that wait for the job, over all API processes; each submission counts as one.

        ``change`` is -1 for a client that left, 0 to read the number. Returns the new number.
        """
        about = {"job_id": job.id, "owner": job.options.owner, "change": change}
        with redis_errors():
            return int(await self._waiters(**WAITERS.of(self._keys, job.request.graph, self._jobs, **about)))

    async def workers(self) -> list[WorkerPresence]:
        """Return the workers whose last heartbeat is recent."""
        return await self._table.live()

    async def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ServiceUnavailable when this process may not go on."""
        try:
            await check_layout_async(self._redis, self._keys)
        except ConfigurationError as error:
            raise ServiceUnavailable(error.message) from error

    async def signing_key(self) -> str:
        """Return the key with which all API processes on this Redis sign URLs; the first call creates it."""
        with redis_errors():
            key = await self._redis.get(self._keys.signing_key)
            if key is None:
                await self._redis.set(self._keys.signing_key, _new_signing_key(), nx=True)
                key = await self._redis.get(self._keys.signing_key)
        if key is None:
            raise ServiceUnavailable("The job store (Redis) lost the key that signs URLs just now.")
        return key.decode()

    async def last_signing_key(self) -> str:
        """Return the key as it was read with the last record (``get``), so that it costs no call of its own."""
        return self._last_signing_key.decode() if self._last_signing_key else await self.signing_key()

    async def rotate_signing_key(self) -> None:
        """Replace the key with which URLs are signed: those signed before are not valid any more."""
        with redis_errors():
            await self._redis.set(self._keys.signing_key, _new_signing_key())

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _id_of(self, name: str, owner: str) -> str | None:
        if not ID.fullmatch(name):
            return None
        with redis_errors():
            job_id = await self._redis.get(self._keys.job_name(owner, name))
        return None if job_id is None else job_id.decode()

    def _not_found(self, name: str) -> JobNotFound:
        return JobNotFound(
            f"There is no job {name[:100]!r}; records are kept for {self._jobs.record_ttl_s} s at most, and the oldest "
            "go first where an owner keeps too much."
        )


def _new_signing_key() -> str:
    return secrets.token_hex(32)
