"""What administrators do to queues: pause and resume them, see what waits and failed, and move jobs to the front."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.settings import JobSettings, RedisSettings
from graphs.api_keys import Priority
from graphs.errors import JobNotFound
from workers.jobs.observe.measured_times import JobWork, read_work
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys, queue_name
from workers.jobs.redis.scripts import FRONT, PAUSE, WAITING_JOBS
from workers.jobs.status import Status


@dataclass(frozen=True)
class WaitingOwner:
    """What waits of one owner in a graph's queue."""

    owner_id: str
    jobs: int
    bytes: int


@dataclass(frozen=True)
class WaitingJob:
    """A job that waits, and how much it asks for, but not what. ``is_moved``: it was moved to the front."""

    id: str
    owner_id: str
    created_at: float
    priority: Priority
    work: JobWork
    queue_position: int
    is_moved: bool


@dataclass(frozen=True)
class FailedJob:
    """Why a job failed, when (unix seconds), and on which worker: '' where it waited. The message may be cut."""

    id: str
    failed_at: float
    owner_id: str
    worker: str
    code: str
    message: str


@dataclass(frozen=True)
class WaitingPage:
    """A page of the jobs that wait in a graph's queue, the next one first."""

    jobs: list[WaitingJob]
    has_more: bool


class QueueControl:
    """The queues, for administrators. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings, message: Callable[[str], str]) -> None:
        """``message(queue)`` makes the message that wakes a worker of a queue."""
        self._jobs = jobs
        self._message = message
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._pause = self._redis.register_script(PAUSE.source(self._keys))
        self._front = self._redis.register_script(FRONT.source(self._keys))
        self._waiting_jobs = self._redis.register_script(WAITING_JOBS.source(self._keys))

    async def pause(self, graph: str) -> bool:
        """Let no worker claim a job of the graph. What runs goes on. Returns False where it was so before."""
        return await self._change(graph, "", is_paused=1)

    async def resume(self, graph: str, digest: str) -> bool:
        """Let workers claim jobs again, and wake one with this digest of the model. Returns False as ``pause``."""
        return await self._change(graph, digest, is_paused=0)

    async def waiting(self, graph: str) -> list[WaitingOwner]:
        """Return what waits in a graph's queue by owner, the one with the most jobs first."""
        with redis_errors():
            stored = await self._redis.hgetall(self._keys.backlog(graph))
        counts = {name.decode(): int(value) for name, value in stored.items()}
        owners = [name.removeprefix("jobs:") for name in counts if name.startswith("jobs:")]
        found = [WaitingOwner(owner, counts[f"jobs:{owner}"], counts.get(f"bytes:{owner}", 0)) for owner in owners]
        return sorted(found, key=lambda one: (-one.jobs, one.owner_id))

    async def jobs(self, graph: str, after: str, limit: int) -> WaitingPage:
        """Return at most ``limit`` jobs of a graph's queue, those behind the job ``after`` ('': the first ones).

        They are read in one command, and so is the place of a job that has begun since. Raises JobNotFound where the
        graph has no job ``after``.
        """
        with redis_errors():
            call = WAITING_JOBS.of(self._keys, graph, self._jobs, of_graph=graph, after=after, most=limit)
            found = await self._waiting_jobs(**call)
        if not found:
            raise JobNotFound(
                f"There is no job {after[:100]!r} of {graph!r} behind which others could wait.", param="after"
            )
        before, queued, *records = found
        jobs = [_waiting_job(record, before + number) for number, record in enumerate(records)]
        return WaitingPage(jobs, has_more=before + len(jobs) < queued)

    async def workers(self) -> list[WorkerPresence]:
        """Return the live workers of all graphs as of their last heartbeats, by name.

        All heartbeats are read, since those who read only what changed (observe/worker_table.py) do not learn of a
        worker's next job.
        """
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            pipeline.hgetall(self._keys.workers)
            (seconds, microseconds), stored = await pipeline.execute()
        return live_workers(stored, seconds + microseconds / 1e6)

    async def failures(self, graph: str, limit: int) -> list[FailedJob]:
        """Return the last jobs of a graph that failed, the newest first, as long as their records are kept."""
        oldest_ms = (time.time() - self._jobs.record_ttl_s) * 1000
        with redis_errors():
            found = await self._redis.zrevrangebyscore(
                self._keys.failures(graph), "+inf", oldest_ms, 0, limit, withscores=True
            )
        return [_failed_job(noted.decode(), ended_ms / 1000) for noted, ended_ms in found]

    async def to_front(self, graph: str, job_id: str) -> Status | None:
        """Move a job before all others that wait in its graph's queue, of every priority, if it waits.

        Returns its status, None where there is no such job any more.
        """
        call = FRONT.of(self._keys, graph, self._jobs, fairness_key=self._keys.fairness(graph), job_id=job_id)
        with redis_errors():
            status = (await self._front(**call)).decode()
        return Status(status) if status else None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _change(self, graph: str, digest: str, *, is_paused: int) -> bool:
        queue = queue_name(graph, digest)
        call = PAUSE.of(
            self._keys,
            graph,
            self._jobs,
            paused_key=self._keys.paused(graph),
            messages_key=self._keys.celery_prefix + queue,
            is_paused=is_paused,
            message=self._message(queue),
        )
        with redis_errors():
            return bool(await self._pause(**call))


def _waiting_job(record: Sequence[bytes], queue_position: int) -> WaitingJob:
    """Return a job of lua/waiting_jobs.lua."""
    job_id, place, owner, created_at, priority, work, cost = record
    return WaitingJob(
        id=job_id.decode(),
        owner_id=owner.decode(),
        created_at=float(created_at),
        priority=Priority(priority.decode() or Priority.NORMAL),
        work=read_work(work or None, float(cost)),
        queue_position=queue_position,
        is_moved=float(place) < 0,
    )


def _failed_job(noted: str, failed_at: float) -> FailedJob:
    """Return a failed job as lua/shared.lua notes it."""
    job_id, _, text = noted.partition(" ")
    found = json.loads(text)
    return FailedJob(job_id, failed_at, found["owner"], found["worker"], found["code"], found["message"])
