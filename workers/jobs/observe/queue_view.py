"""The queue as clients see it: pages of their jobs, places, and the estimated time to the end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from config.settings import RedisSettings
from workers.jobs.job import Job, job_from_hash, status_shown
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.scripts import SWEEP
from workers.jobs.status import EXPIRED, Status

_CHUNK = 10
# A page ends early, with more to follow, where its records have so many bytes: those of long prompts are large.
_PAGE_BYTES = 4 * 2**20
_SWEPT = 500


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
        self._sweep = self._redis.register_script(SWEEP.source)

    async def estimates(self, jobs: Sequence[Job], workers: Mapping[str, int]) -> list[QueueEstimate]:
        """Return each job's place and the estimated time to its end, with so many ready workers on each graph.

        The time is the cost (steps times megapixels) of the jobs before it, shared by the workers, and its own, at the
        pace of the last jobs; None before the first job of a graph has ended. A queue is read once for all of the jobs.
        """
        graphs = {job.request.graph for job in jobs if not job.status.is_final}
        queues = {graph: await self._queue(graph, jobs) for graph in graphs}
        return [
            QueueEstimate(None, None)
            if job.status.is_final
            else queues[job.request.graph].estimate(job, workers.get(job.request.graph, 0))
            for job in jobs
        ]

    async def page(self, owner: str, *, after: Job | None, limit: int, newest_first: bool, status: str | None) -> Page:
        """Return the owner's jobs that follow ``after`` in the given order, at most ``limit``, or fewer large ones.

        ``status`` is one of SHOWN_STATUSES, or None for all of them. Each status has a list of its own, so that a page
        reads about as many records as it has jobs, however many there are and however deep it lies.
        """
        if status in (Status.COMPLETED, EXPIRED):
            await self._expire()
        found: list[Job] = []
        now = time.time()
        edge = after.sequence if after else None
        read_bytes = 0
        is_rest = False
        while len(found) <= limit and not is_rest:
            raws = await self._ids(keys.owner_jobs(owner, status), edge, newest_first)
            is_rest = len(raws) < _CHUNK
            for job, sequence, size_bytes in await self._jobs(raws):
                edge = sequence
                read_bytes += size_bytes
                if job is not None and status in (None, status_shown(job, now)):
                    found.append(job)
            if found and read_bytes > _PAGE_BYTES:
                return Page(found[:limit], has_more=len(found) > limit or not is_rest)
        return Page(found[:limit], len(found) > limit)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _expire(self) -> None:
        """Put the completed jobs whose artifacts are gone on the list of expired ones; each is moved once."""
        with redis_errors():
            while await self._sweep(**SWEEP.call(most=_SWEPT)) == _SWEPT:
                pass

    async def _ids(self, key: str, edge: int | None, newest_first: bool) -> list[tuple[bytes, float]]:
        with redis_errors():
            if newest_first:
                start = "+inf" if edge is None else f"({edge}"
                return await self._redis.zrevrangebyscore(key, start, "-inf", 0, _CHUNK, withscores=True)
            start = "-inf" if edge is None else f"({edge}"
            return await self._redis.zrangebyscore(key, start, "+inf", 0, _CHUNK, withscores=True)

    async def _jobs(self, raws: Sequence[tuple[bytes, float]]) -> list[tuple[Job | None, int, int]]:
        """Return the jobs with their sequence numbers and sizes in bytes; None for a record that has expired."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for raw, _ in raws:
                pipeline.hgetall(keys.job(raw.decode()))
            stored = await pipeline.execute() if raws else []
        return [
            (
                job_from_hash(raw.decode(), record) if b"request" in record else None,
                int(sequence),
                sum(map(len, record.values())),
            )
            for (raw, sequence), record in zip(raws, stored, strict=True)
        ]

    async def _queue(self, graph: str, jobs: Sequence[Job]) -> "_Queue":
        """Read a graph's queue up to the last of these jobs, and what runs."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(keys.pace(graph))
            pipeline.zrange(keys.running(graph), 0, -1)
            for job in jobs:
                pipeline.zrank(keys.queued(graph), job.id)
            pace, running, *ranks = await pipeline.execute()
            last = max((rank for rank in ranks if rank is not None), default=-1)
            queued = await self._redis.zrange(keys.queued(graph), 0, last) if last >= 0 else []
            work = await self._work_left([*running, *queued])
        return _Queue(None if pace is None else float(pace), work, [raw.decode() for raw in queued])

    async def _work_left(self, raws: Sequence[bytes]) -> dict[str, float]:
        """Return the cost that is left of each of these jobs."""
        pipeline = self._redis.pipeline(transaction=False)
        for raw in raws:
            pipeline.hmget(keys.job(raw.decode()), ["cost", "step", "total_steps"])
        records = await pipeline.execute() if raws else []
        return {
            raw.decode(): _left(*(None if value is None else float(value) for value in record))
            for raw, record in zip(raws, records, strict=True)
        }


class _Queue:
    """What is needed of one graph's queue for the estimates of some of its jobs."""

    def __init__(self, pace: float | None, work: Mapping[str, float], queued: Sequence[str]) -> None:
        """``pace``: seconds a unit of cost; ``work``: what is left of each running and queued job; ``queued``: ids."""
        self._pace = pace
        self._places = {job_id: place for place, job_id in enumerate(queued)}
        self._running = sum(left for job_id, left in work.items() if job_id not in self._places)
        self._ahead = [0.0, *accumulate(work[job_id] for job_id in queued)]

    def estimate(self, job: Job, workers: int) -> QueueEstimate:
        """Return the estimate of a job that has not ended."""
        place = self._places.get(job.id)
        if self._pace is None:
            return QueueEstimate(place, None)
        waiting = 0.0
        if job.status is Status.QUEUED:
            waiting = (self._running + self._ahead[place or 0]) / max(1, workers)
        return QueueEstimate(place, round(self._pace * (waiting + _left(job.cost, job.step, job.total_steps)), 1))


def _left(cost: float | None, step: float | None, total_steps: float | None) -> float:
    done = (step or 0) / total_steps if total_steps else 0.0
    return (cost or 0.0) * (1 - min(1.0, done))
