"""The job store as the API sees it: submit, look up, cancel, fetch. Asynchronous; the worker's side is claims.py.

Whoever asks for a job gives its owner: another owner's job does not exist for him.
"""

import json
import secrets
from dataclasses import dataclass, field
from typing import Literal

from config.settings import JobSettings, RedisSettings
from graphs.errors import (
    ArtifactExpired,
    ConfigurationError,
    IdempotencyConflict,
    JobNotFound,
    QueueFull,
    RequestTooLarge,
    ServiceUnavailable,
    StoreFull,
)
from graphs.requests.request import ResolvedRequest
from workers.jobs.job import Job, Status, cost_of, job_from_hash, new_job_id
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.queue_bounds import Bound, QueueBounds, queue_bounds
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.layout import LAYOUT_SCRIPT, accept_layout, layout_arguments, layout_keys
from workers.jobs.redis.scripts import script, script_arguments, script_keys


@dataclass(frozen=True)
class Idempotency:
    """What makes a request the same as an earlier one.

    ``key`` tells requests apart and is remembered for ``ttl_s`` seconds; ``digest`` is that of the whole request, and
    must be the same again. ``join`` says whether an earlier job is joined: 'always', only while it 'live's (or has its
    pictures), or 'never'.
    """

    key: str = ""
    digest: str = "-"
    ttl_s: int = 0
    join: Literal["always", "live", "never"] = "never"


@dataclass(frozen=True)
class Submission:
    """A request on its way into the queue. ``start_by`` (unix seconds): after that nobody waits for it any more."""

    request: ResolvedRequest
    options: JobOptions = field(default_factory=JobOptions)
    image: bytes = b""
    mask: bytes = b""
    job_id: str | None = None
    idempotency: Idempotency = field(default_factory=Idempotency)
    start_by: float | None = None


class JobStore:
    """Jobs in Redis. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._jobs = jobs
        self._redis = connect_async(redis_settings)
        self._layout = self._redis.register_script(LAYOUT_SCRIPT)
        self._submit = self._redis.register_script(script("submit"))
        self._cancel = self._redis.register_script(script("cancel"))
        self._erase = self._redis.register_script(script("erase"))
        self._waiters = self._redis.register_script(script("waiters"))

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Store a new job as queued. Returns it, and whether it is new: the same request joins its earlier job.

        Raises QueueFull, StoreFull, RequestTooLarge for one that fits no queue, or IdempotencyConflict when the key or
        the id belongs to another request.
        """
        job_id = submission.job_id or new_job_id()
        with redis_errors():
            outcome, found = await self._submit(
                keys=self._submit_keys(submission), args=self._submit_arguments(job_id, submission)
            )
        if outcome == b"full":
            raise await self._refusal(submission, found.decode())
        if outcome == b"conflict":
            raise IdempotencyConflict("This idempotency key or job id came with another request before; use a new one.")
        # A fresh id that is known already: redis-py sent the command twice, because the first answer was lost.
        is_new = outcome == b"queued" or (submission.job_id is None and found.decode() == job_id)
        return await self.get(found.decode(), submission.options.owner), is_new

    async def get(self, job_id: str, owner: str | None) -> Job:
        """Return a job; ``owner`` None asks for anybody's. Raises JobNotFound."""
        with redis_errors():
            stored = await self._redis.hgetall(keys.job(job_id))
        job = job_from_hash(job_id, stored) if b"request" in stored else None
        if job is None or owner not in (None, job.options.owner):
            raise JobNotFound(f"There is no job {job_id!r}; records are kept for {self._jobs.record_ttl_s} s.")
        return job

    async def status(self, job_id: str) -> Status:
        """Return how a job stands, and nothing else of it. Raises JobNotFound."""
        with redis_errors():
            status = await self._redis.hget(keys.job(job_id), "status")
        if status is None:
            raise JobNotFound(f"There is no job {job_id!r} any more.")
        return Status(status.decode())

    async def artifacts(self, job: Job) -> list[bytes]:
        """Return a completed job's encoded pictures. Raises ArtifactExpired."""
        with redis_errors():
            found = await self._redis.mget([keys.artifact(job.id, index) for index in range(job.artifacts)])
        if not found or any(picture is None for picture in found):
            raise ArtifactExpired(f"The pictures of {job.id} were kept for {self._jobs.result_ttl_s} s and are gone.")
        return list(found)

    async def cancel(self, job: Job) -> Job:
        """Cancel a job: at once while it waits, at its next step while it runs; no effect once it has ended."""
        with redis_errors():
            await self._cancel(keys=script_keys(job.request.graph), args=script_arguments(self._jobs, job.id))
        return await self.get(job.id, None)

    async def erase(self, job: Job) -> None:
        """Cancel a job and take away everything that is known of it."""
        pictures = [keys.artifact(job.id, index) for index in range(job.request.num_images_per_prompt)]
        with redis_errors():
            await self._erase(
                keys=script_keys(job.request.graph, [keys.owner_jobs(job.options.owner), *pictures]),
                args=script_arguments(self._jobs, job.id),
            )

    async def add_waiter(self, job: Job, change: int) -> int:
        """Count who waits for the job, over all API processes; every submission counts as one that does.

        ``change`` is -1 for one who left, 0 to ask. Returns how many do now.
        """
        with redis_errors():
            return int(
                await self._waiters(
                    keys=script_keys(job.request.graph), args=script_arguments(self._jobs, job.id, change)
                )
            )

    async def workers(self) -> list[WorkerPresence]:
        """Return the workers that gave a sign of life lately."""
        with redis_errors():
            return live_workers(await self._redis.hgetall(keys.WORKERS), (await self._redis.time())[0])

    async def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ServiceUnavailable when this process may not go on."""
        with redis_errors():
            answer = await self._layout(keys=layout_keys(), args=layout_arguments())
        try:
            accept_layout(answer)
        except ConfigurationError as error:
            raise ServiceUnavailable(error.message) from error

    async def signing_key(self) -> str:
        """Return the key that all API processes on this Redis sign URLs with, made at its first use."""
        with redis_errors():
            await self._redis.set(keys.SIGNING_KEY, secrets.token_hex(32), nx=True)
            key: bytes = await self._redis.get(keys.SIGNING_KEY)
        return key.decode()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _submit_keys(self, submission: Submission) -> list[str]:
        graph, owner = submission.request.graph, submission.options.owner
        more = [
            keys.SEQUENCE,
            keys.owner_jobs(owner),
            keys.fairness(graph),
            keys.idempotency(owner, submission.idempotency.key),
        ]
        return script_keys(graph, more)

    def _submit_arguments(self, job_id: str, submission: Submission) -> list[object]:
        options, once, request = submission.options, submission.idempotency, submission.request
        fields: list[object] = ["request", request.model_dump_json(exclude_defaults=True)]
        fields += ["options", options.model_dump_json(exclude_defaults=True)]
        if options.deadline is not None:
            fields += ["deadline", options.deadline]
        fields += _webhook_fields(options, request.model)
        bounds = queue_bounds(self._jobs, options.owner)
        return script_arguments(
            self._jobs,
            job_id,
            bounds.jobs,
            submission.image,
            submission.mask,
            options.owner,
            options.priority.rank,
            cost_of(request),
            once.digest,
            once.ttl_s,
            once.join,
            "" if submission.start_by is None else submission.start_by,
            _size_bytes(submission, fields, bounds),
            bounds.bytes,
            bounds.owner_jobs,
            bounds.owner_bytes,
            *fields,
        )

    async def _refusal(self, submission: Submission, reason: "Bound | Literal['memory']") -> QueueFull | StoreFull:
        """The refusal, with when to come back: about when an eighth of what waits is done, at most a minute."""
        if reason == "memory":
            return StoreFull()
        graph = submission.request.graph
        with redis_errors():
            pace = float(await self._redis.get(keys.pace(graph)) or 1.0)
            ahead = await self._redis.zrange(
                keys.queued(graph), 0, int(await self._redis.zcard(keys.queued(graph))) // 8
            )
            costs = [float(await self._redis.hget(keys.job(raw.decode()), "cost") or 0.0) for raw in ahead[:20]]
        seconds = pace * sum(costs) / max(1, len(costs)) * len(ahead)
        sentence = queue_bounds(self._jobs, submission.options.owner).sentence(reason, graph)
        return QueueFull(sentence, retry_after_s=int(min(60, max(1, seconds))))


def _size_bytes(submission: Submission, fields: list[object], bounds: QueueBounds) -> int:
    """Return how much of the queue a submission takes. Raises RequestTooLarge when it would never fit."""
    size_bytes = len(submission.image) + len(submission.mask) + sum(len(str(value).encode()) for value in fields)
    if size_bytes > bounds.largest_job_bytes:
        raise RequestTooLarge(
            f"With its pictures as PNG the request has {size_bytes} bytes; this queue takes {bounds.largest_job_bytes}."
        )
    return size_bytes


def _webhook_fields(options: JobOptions, model: str) -> list[object]:
    """Return what a script needs to write a delivery by itself."""
    if options.webhook is None:
        return []
    data = json.dumps({"model": model, "metadata": options.metadata})
    events = " ".join(options.webhook.events)
    return ["webhook_url", options.webhook.url, "webhook_events", events, "webhook_data", data]
