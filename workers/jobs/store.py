"""The job store as the API uses it: submit, look up, cancel, fetch. Asynchronous; the worker's side is claims.py.

Look-ups take the owner of the request; for a job of another owner they raise JobNotFound. A client finds a job by its
id, or by the name that it chose, a name among the jobs of its owner only. Every script compares the owner itself.
"""

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from config.settings import JobSettings, RedisSettings
from graphs.errors import (
    ArtifactExpired,
    ConfigurationError,
    IdempotencyConflict,
    JobNotFound,
    RequestTooLarge,
    ServiceUnavailable,
    StoreFull,
)
from graphs.requests.request import ResolvedRequest
from workers.jobs.job import Job, cost_of, is_new_id, job_from_hash, new_job_id
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import work_of
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.queue_bounds import QueueBounds, kept_bounds, queue_bounds
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.layout import check_layout_async
from workers.jobs.redis.script import ScriptCall, flat
from workers.jobs.redis.scripts import CANCEL, ERASE, SUBMIT, WAITERS
from workers.jobs.refusals import refusal
from workers.jobs.status import Status

# How often ended jobs may make room for a submission, up to MOST_EVICTED of lua/keeping.lua at once.
_MOST_EVICTIONS = 100
# What an id may be; no other text becomes a part of a key.
ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Idempotency:
    """What makes a request the same as an earlier one.

    ``key`` identifies the request and is remembered for ``ttl_s`` seconds; ``digest`` is that of the whole request, and
    must be equal. ``join`` says when an earlier job is joined: 'always', 'live' (only while it waits, runs or is
    completed), or 'never'.
    """

    key: str = ""
    digest: str = "-"
    ttl_s: int = 0
    join: Literal["always", "live", "never"] = "never"


@dataclass(frozen=True)
class Submission:
    """A resolved request with its input images (PNG, empty for none) and options, as the store takes it.

    ``name`` is the client's own choice of an id, if any. After ``start_by`` (unix seconds) no client waits for the job.
    """

    request: ResolvedRequest
    options: JobOptions = field(default_factory=JobOptions)
    image: bytes = b""
    mask: bytes = b""
    name: str | None = None
    idempotency: Idempotency = field(default_factory=Idempotency)
    start_by: float | None = None


class JobStore:
    """Jobs in Redis. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._jobs = jobs
        self._redis = connect_async(redis_settings)
        self._submit = self._redis.register_script(SUBMIT.source)
        self._cancel = self._redis.register_script(CANCEL.source)
        self._erase = self._redis.register_script(ERASE.source)
        self._waiters = self._redis.register_script(WAITERS.source)

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Store a new job as queued. Returns it, and whether it is new: an equal request joins its earlier job.

        Where its owner keeps as much as it may, the owner's oldest ended jobs make room. Raises QueueFull, StoreFull,
        RequestTooLarge for a request that fits no queue, or IdempotencyConflict when the key or the name belongs to
        another request of the owner.
        """
        job_id = new_job_id()
        owner = submission.options.owner
        call = self._submit_call(job_id, submission)
        outcome = "evicting"
        for _ in range(_MOST_EVICTIONS):
            with redis_errors():
                outcome, found, *numbers = (part.decode() for part in await self._submit(**call))
            if outcome != "evicting":
                break
        if outcome == "evicting":
            raise StoreFull
        if outcome == "full":
            graph = submission.request.graph
            raise await refusal(self._redis, self._jobs, graph, owner, found, [int(number) for number in numbers])
        if outcome == "conflict":
            raise IdempotencyConflict("This idempotency key or job id came with another request before; use a new one.")
        # A fresh id that is already known: redis-py sent the command twice, because the first reply was lost.
        is_new = outcome == "queued" or found == job_id
        return await self.get(found, owner), is_new

    async def get(self, job_id: str, owner: str | None) -> Job:
        """Return the job with this id; ``owner`` None finds a job of any owner. Raises JobNotFound."""
        with redis_errors():
            stored = await self._redis.hgetall(keys.job(job_id)) if ID.fullmatch(job_id) else {}
        job = job_from_hash(job_id, stored) if b"request" in stored else None
        if job is None or owner not in (None, job.options.owner):
            raise self._not_found(job_id)
        return job

    async def find(self, name: str, owner: str) -> Job:
        """Return the owner's job with this name or id. Raises JobNotFound."""
        try:
            if is_new_id(name):  # few clients choose a name of the form of our own ids
                with suppress(JobNotFound):
                    return await self.get(name, owner)
            # A name is the id itself where the job is from before names were kept (keys.LAYOUT_VERSION).
            return await self.get(await self._id_of(name, owner) or name, owner)
        except JobNotFound as error:
            raise self._not_found(name) from error

    async def status(self, job_id: str) -> Status:
        """Return the status of a job and read nothing else of it. Raises JobNotFound."""
        with redis_errors():
            status = await self._redis.hget(keys.job(job_id), "status")
        if status is None:
            raise JobNotFound(f"There is no job {job_id[:100]!r} any more.")
        return Status(status.decode())

    async def was_emptied_since(self, job: Job) -> bool:
        """Return whether Redis has lost its data since this job was accepted: its counter of jobs began anew."""
        with redis_errors():
            return int(await self._redis.get(keys.SEQUENCE) or 0) < job.sequence

    async def artifacts(self, job: Job) -> list[bytes]:
        """Return the artifacts of a completed job. Raises ArtifactExpired."""
        with redis_errors():
            found = await self._redis.mget([keys.artifact(job.id, index) for index in range(job.artifacts)])
        artifacts = [artifact for artifact in found if artifact is not None]
        if not artifacts or len(artifacts) < len(found):
            raise ArtifactExpired(f"The images of {job.name} were kept for {self._jobs.result_ttl_s} s and are gone.")
        return artifacts

    async def cancel(self, job: Job) -> Job:
        """Cancel a job: at once while it waits, at its next step while it runs; no effect once it has ended."""
        with redis_errors():
            await self._cancel(**CANCEL.of(job.request.graph, self._jobs, job_id=job.id, owner=job.options.owner))
        return await self.get(job.id, None)

    async def erase(self, job: Job) -> None:
        """Cancel a job and delete everything that is stored of it."""
        call = ERASE.of(
            job.request.graph,
            self._jobs,
            job_id=job.id,
            owner=job.options.owner,
        )
        with redis_errors():
            await self._erase(**call)

    async def add_waiter(self, job: Job, change: int) -> int:
        """Change the number of clients that wait for the job, over all API processes; each submission counts as one.

        ``change`` is -1 for a client that left, 0 to read the number. Returns the new number.
        """
        about = {"job_id": job.id, "owner": job.options.owner, "change": change}
        with redis_errors():
            return int(await self._waiters(**WAITERS.of(job.request.graph, self._jobs, **about)))

    async def needs_message(self, graph: str) -> bool:
        """Return whether fewer messages than jobs wait for a graph's workers. The messages of cancelled jobs remain."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.llen(keys.queue_name(graph))
            pipeline.zcard(keys.queued(graph))
            messages, jobs = await pipeline.execute()
            return int(messages) < int(jobs)

    async def workers(self) -> list[WorkerPresence]:
        """Return the workers whose last heartbeat is recent."""
        with redis_errors():
            return live_workers(await self._redis.hgetall(keys.WORKERS), (await self._redis.time())[0])

    async def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ServiceUnavailable when this process may not go on."""
        try:
            await check_layout_async(self._redis)
        except ConfigurationError as error:
            raise ServiceUnavailable(error.message) from error

    async def signing_key(self) -> str:
        """Return the key with which all API processes on this Redis sign URLs; the first call creates it."""
        with redis_errors():
            key = await self._redis.get(keys.SIGNING_KEY)
            if key is None:
                await self._redis.set(keys.SIGNING_KEY, _new_signing_key(), nx=True)
                key = await self._redis.get(keys.SIGNING_KEY)
        if key is None:
            raise ServiceUnavailable("The job store (Redis) lost the key that signs URLs just now.")
        return key.decode()

    async def rotate_signing_key(self) -> None:
        """Replace the key with which URLs are signed: those signed before are not valid any more."""
        with redis_errors():
            await self._redis.set(keys.SIGNING_KEY, _new_signing_key())

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _submit_call(self, job_id: str, submission: Submission) -> ScriptCall:
        request = submission.request
        options = submission.options
        idempotency = submission.idempotency
        bounds = queue_bounds(self._jobs, options.owner)
        fields = _record_fields(submission)
        return SUBMIT.of(
            request.graph,
            self._jobs,
            fairness_key=keys.fairness(request.graph),
            idempotency_key=keys.idempotency(options.owner, idempotency.key),
            job_id=job_id,
            name=submission.name or "",
            owner=options.owner,
            image=submission.image,
            mask=submission.mask,
            priority_rank=options.priority.rank,
            cost=cost_of(request),
            size_bytes=_size_bytes(submission, fields, bounds),
            start_by="" if submission.start_by is None else str(submission.start_by),
            digest=idempotency.digest,
            join=idempotency.join,
            idempotency_ttl_s=idempotency.ttl_s,
            max_queued=bounds.jobs,
            max_queued_bytes=bounds.bytes,
            max_owner_queued=bounds.owner_jobs,
            max_owner_bytes=bounds.owner_bytes,
            **kept_bounds(self._jobs, options.owner).arguments(),
            fields=flat(fields),
        )

    async def _id_of(self, name: str, owner: str) -> str | None:
        if not ID.fullmatch(name):
            return None
        with redis_errors():
            job_id = await self._redis.get(keys.job_name(owner, name))
        return None if job_id is None else job_id.decode()

    def _not_found(self, name: str) -> JobNotFound:
        return JobNotFound(
            f"There is no job {name[:100]!r}; records are kept for {self._jobs.record_ttl_s} s at most, and the oldest "
            "go first where an owner keeps too much."
        )


def _new_signing_key() -> str:
    return secrets.token_hex(32)


def _record_fields(submission: Submission) -> dict[str, str]:
    """Return the fields of a record that its submission decides; a script needs no others to write a delivery."""
    request = submission.request
    options = submission.options
    fields = {
        "request": request.model_dump_json(exclude_defaults=True),
        "options": options.model_dump_json(exclude_defaults=True),
        "work": str(work_of(request)),
    }
    if options.deadline is not None:
        fields["deadline"] = str(options.deadline)
    if options.webhook is not None:
        fields["webhook_url"] = options.webhook.url
        fields["webhook_receiver"] = urlsplit(options.webhook.url).netloc.rpartition("@")[2].lower()
        fields["webhook_events"] = " ".join(options.webhook.events)
        fields["webhook_data"] = json.dumps({"model": request.model, "metadata": options.metadata})
    return fields


def _size_bytes(submission: Submission, fields: Mapping[str, str], bounds: QueueBounds) -> int:
    """Return how many bytes of the queue a submission takes. Raises RequestTooLarge when it would never fit."""
    size_bytes = len(submission.image) + len(submission.mask)
    size_bytes += sum(len(text.encode()) for text in flat(fields))
    if size_bytes > bounds.largest_job_bytes:
        raise RequestTooLarge(
            f"With its images as PNG the request has {size_bytes} bytes; this queue takes {bounds.largest_job_bytes}."
        )
    return size_bytes
