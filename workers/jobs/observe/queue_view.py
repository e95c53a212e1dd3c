"""The queue as clients see it: pages of their jobs, places, and the estimated time to the end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from config.settings import JobSettings, RedisSettings
from workers.jobs.job import Job, job_from_hash, status_shown
from workers.jobs.observe.measured_times import MeasuredTimes, read_times, read_work, work_of
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import SWEEP
from workers.jobs.status import EXPIRED, Status

_CHUNK = 10
# A page ends early, with more to follow, where its records have so many bytes: those of long prompts are large.
_PAGE_BYTES = 4 * 2**20
_SWEPT = 500
# How many jobs of a queue are read for estimates; a longer one is counted by the average of these.
_MOST_READ = 200


@dataclass(frozen=True)
class QueueEstimate:
    """A job's place and time. ``queue_position``: how many jobs are before it, None unless it waits.

    ``eta_s``: estimated seconds to its end, None where unknown. ``depth``: how many jobs wait in its queue, of at most
    ``limit``; None for a job that has ended.
    """

    queue_position: int | None
    eta_s: float | None
    depth: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Page:
    """A page of an owner's jobs, and whether more follow."""

    jobs: list[Job]
    has_more: bool


class QueueView:
    """Reads the queue. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._limit = jobs.max_queued
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._sweep = self._redis.register_script(SWEEP.source(self._keys))

    async def estimates(self, jobs: Sequence[Job], workers: Mapping[str, int]) -> list[QueueEstimate]:
        """Return each job's place and the estimated time to its end, with so many ready workers on each graph.

        The time is that of the jobs before it, shared by the workers, and its own, as the last jobs of the graph have
        shown; None before three of them were completed. A queue is read once for all of the jobs, and of a long one no
        more than its first jobs: the others count as these do on average.
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
            raws = await self._ids(self._keys.owner_jobs(owner, status), edge, newest_first)
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
            while await self._sweep(**SWEEP.call(self._keys, most=_SWEPT)) == _SWEPT:
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
                pipeline.hgetall(self._keys.job(raw.decode()))
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
        """Read what runs of a graph, and the first jobs of its queue, up to the last of these jobs."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.lrange(self._keys.times(graph), 0, -1)
            pipeline.zrange(self._keys.running(graph), 0, -1)
            pipeline.zcard(self._keys.queued(graph))
            for job in jobs:
                pipeline.zrank(self._keys.queued(graph), job.id)
            lines, running, depth, *ranks = await pipeline.execute()
            places = {job.id: rank for job, rank in zip(jobs, ranks, strict=True) if rank is not None}
            times = read_times(lines)
            last = min(max(places.values(), default=-1), _MOST_READ - 1)
            queued = await self._redis.zrange(self._keys.queued(graph), 0, last) if last >= 0 else []
            seconds = await self._seconds_left([*running, *queued], times)
        return _Queue(times, places, (depth, self._limit), sum(seconds[: len(running)]), seconds[len(running) :])

    async def _seconds_left(self, raws: Sequence[bytes], times: MeasuredTimes) -> list[float]:
        """Return how many seconds each of these jobs still takes, 0 where that is unknown."""
        pipeline = self._redis.pipeline(transaction=False)
        for raw in raws:
            pipeline.hmget(self._keys.job(raw.decode()), ["work", "cost", "step", "total_steps"])
        records = await pipeline.execute() if raws else []
        return [
            _left(times.seconds(read_work(work, float(cost or 0))), int(step or 0), int(total_steps or 0)) or 0.0
            for work, cost, step, total_steps in records
        ]


class _Queue:
    """What is needed of one graph's queue for the estimates of some of its jobs."""

    def __init__(
        self,
        times: MeasuredTimes,
        places: Mapping[str, int],
        fill: tuple[int, int],
        running_s: float,
        queued_s: Sequence[float],
    ) -> None:
        """``places`` of the jobs that wait; ``fill``: how many wait, and may.

        ``running_s``: what is left of all that run; ``queued_s``: what the first jobs of the queue take.
        """
        self._times = times
        self._places = places
        self._fill = fill
        self._running_s = running_s
        self._ahead_s = [0.0, *accumulate(queued_s)]

    def estimate(self, job: Job, workers: int) -> QueueEstimate:
        """Return the estimate of a job that has not ended."""
        place = self._places.get(job.id)
        own_s = _left(self._times.seconds(work_of(job.request)), job.step or 0, job.total_steps or 0)
        if own_s is None:
            return QueueEstimate(place, None, *self._fill)
        waiting_s = 0.0
        if job.status is Status.QUEUED:
            waiting_s = (self._running_s + self._before_s(place or 0)) / max(1, workers)
        return QueueEstimate(place, round(waiting_s + own_s, 2), *self._fill)

    def _before_s(self, place: int) -> float:
        """Return the seconds of the jobs before a place."""
        read = len(self._ahead_s) - 1
        return self._ahead_s[place] if place <= read else self._ahead_s[read] * place / max(1, read)


def _left(seconds: float | None, step: int, total_steps: int) -> float | None:
    if seconds is None:
        return None
    return seconds * (1 - min(1.0, step / total_steps if total_steps else 0.0))
