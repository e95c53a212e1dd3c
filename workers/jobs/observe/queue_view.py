"""The queue as clients see it: pages of their jobs, places, and the estimated time to the end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.job import Job, job_from_hash, status_shown
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.status import Status

_CHUNK = 50


@dataclass(frozen=True)
class QueueEstimate:
    """A job's place and time. ``queue_position``: how many jobs are before it, None unless it waits.

    ``eta_s``: estimated seconds to its end, None where unknown.
    """

    queue_position: int | None
    eta_s: float | None


@dataclass(frozen=True)
class Page:
    """A page of an owner's jobs, and whether more follow."""

    jobs: list[Job]
    has_more: bool


class QueueView:
    """Reads the queue. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._redis = connect_async(redis_settings)

    async def estimate(self, job: Job, workers: int) -> QueueEstimate:
        """Return a job's place and the estimated time to its end, with so many ready workers on its graph.

        The time is the cost (steps times megapixels) of the jobs before it, shared by the workers, and its own, at the
        pace of the last jobs; None before the first job of a graph has ended.
        """
        if job.status.is_final:
            return QueueEstimate(None, None)
        graph = job.request.graph
        with redis_errors():
            pace = await self._redis.get(keys.pace(graph))
            rank = await self._redis.zrank(keys.queued(graph), job.id)
            ahead = await self._redis.zrange(keys.queued(graph), 0, rank - 1) if rank else []
            running = await self._redis.zrange(keys.running(graph), 0, -1)
            work = await self._work_left([raw for raw in [*ahead, *running] if raw.decode() != job.id])
        if pace is None:
            return QueueEstimate(rank, None)
        waiting = work / max(1, workers) if job.status is Status.QUEUED else 0.0
        return QueueEstimate(rank, round(float(pace) * (waiting + _left(job.cost, job.step, job.total_steps)), 1))

    async def page(self, owner: str, *, after: Job | None, limit: int, newest_first: bool, status: str | None) -> Page:
        """Return the owner's jobs that follow ``after`` in the given order, at most ``limit``.

        ``status`` is one of SHOWN_STATUSES, or None for all of them.
        """
        found: list[Job] = []
        now = time.time()
        edge = after.sequence if after else None
        while len(found) <= limit:
            raws = await self._ids(owner, edge, newest_first)
            for job, sequence in await self._jobs(raws):
                edge = sequence
                if job is not None and status in (None, status_shown(job, now)):
                    found.append(job)
            if len(raws) < _CHUNK:
                break
        return Page(found[:limit], len(found) > limit)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ids(self, owner: str, edge: int | None, newest_first: bool) -> list[tuple[bytes, float]]:
        key = keys.owner_jobs(owner)
        with redis_errors():
            if newest_first:
                start = "+inf" if edge is None else f"({edge}"
                return await self._redis.zrevrangebyscore(key, start, "-inf", 0, _CHUNK, withscores=True)
            start = "-inf" if edge is None else f"({edge}"
            return await self._redis.zrangebyscore(key, start, "+inf", 0, _CHUNK, withscores=True)

    async def _jobs(self, raws: Sequence[tuple[bytes, float]]) -> list[tuple[Job | None, int]]:
        """Return the jobs with their sequence numbers; None for a record that has expired."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for raw, _ in raws:
                pipeline.hgetall(keys.job(raw.decode()))
            stored = await pipeline.execute() if raws else []
        return [
            (job_from_hash(raw.decode(), record) if b"request" in record else None, int(sequence))
            for (raw, sequence), record in zip(raws, stored, strict=True)
        ]

    async def _work_left(self, raws: Sequence[bytes]) -> float:
        pipeline = self._redis.pipeline(transaction=False)
        for raw in raws:
            pipeline.hmget(keys.job(raw.decode()), ["cost", "step", "total_steps"])
        records = await pipeline.execute() if raws else []
        return sum(_left(*(None if value is None else float(value) for value in record)) for record in records)


def _left(cost: float | None, step: float | None, total_steps: float | None) -> float:
    done = (step or 0) / total_steps if total_steps else 0.0
    return (cost or 0.0) * (1 - min(1.0, done))
