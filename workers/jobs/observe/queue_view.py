"""The queue as clients see it: pages of their jobs, places, and the estimated time to the end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from config.settings import JobSettings, RedisSettings
from workers.jobs.job import Job, job_from_hash, status_shown
from workers.jobs.observe.measured_times import MeasuredTimes, read_sums, read_times, work_of
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import OUTLOOK, SWEEP
from workers.jobs.status import EXPIRED, Status

_CHUNK = 10
# A page ends early, with more to follow, where its records have so many bytes: those of long prompts are large.
_PAGE_BYTES = 4 * 2**20
_SWEPT = 500
# Of what is left of a running job, as the sums count it (lua/work.lua).
_THOUSANDTHS = 1000


# The jobs before it, a worker, or the end of a pause.
WaitingFor = Literal["jobs", "worker", "resume"]


@dataclass(frozen=True)
class QueueEstimate:
    """A job's place and time. ``queue_position``: how many jobs are before it, None unless it waits.

    ``eta_s``: estimated seconds to its end, None where unknown. ``depth``: how many jobs wait in its queue, of at most
    ``limit``; None for a job that has ended. ``waiting_for``: what a queued job waits for.
    """

    queue_position: int | None
    eta_s: float | None
    depth: int | None = None
    limit: int | None = None
    waiting_for: WaitingFor | None = None


@dataclass(frozen=True)
class Page:
    """A page of an owner's jobs, and whether more follow."""

    jobs: list[Job]
    has_more: bool


class QueueView:
    """Reads the queue. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._settings = jobs
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._outlook = self._redis.register_script(OUTLOOK.source(self._keys))
        self._sweep = self._redis.register_script(SWEEP.source(self._keys))

    async def estimates(self, jobs: Sequence[Job], workers: Mapping[str, int]) -> list[QueueEstimate]:
        """Return each job's place and the estimated time to its end, with so many ready workers on each graph.

        The time is that of the jobs before it, shared by the workers, and its own, as the last jobs of the graph have
        shown; None before three of them were completed. A queue is asked once for all of the jobs, and answers from
        sums (lua/work.lua): the cost grows neither with the jobs that wait nor with those that run.
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
        """Read the places of these jobs and the work before them, in one command."""
        ids = [job.id for job in jobs if job.request.graph == graph and not job.status.is_final]
        own = {"times_key": self._keys.times(graph), "paused_key": self._keys.paused(graph)}
        with redis_errors():
            outlook = await self._outlook(**OUTLOOK.of(self._keys, graph, self._settings, **own, job_ids=ids))
        depth, running, lines, found, is_paused = outlook
        times = read_times(lines)
        places = {
            job_id: _Place(place, times.seconds_of(read_sums(sums)))
            for job_id, place, sums in zip(ids, found[::2], found[1::2], strict=True)
            if place >= 0
        }
        running_s = times.seconds_of(read_sums(running)) / _THOUSANDTHS
        return _Queue(times, places, (depth, self._settings.max_queued), running_s, is_paused == 1)


@dataclass(frozen=True)
class _Place:
    """How many jobs are before a waiting one, and the seconds that they take."""

    jobs_before: int
    before_s: float


@dataclass(frozen=True)
class _Queue:
    """What is needed of one graph's queue for the estimates of some of its jobs.

    ``places`` of those that wait; ``fill``: how many jobs wait, and may; ``running_s``: what is left of all that run.
    """

    times: MeasuredTimes
    places: Mapping[str, _Place]
    fill: tuple[int, int]
    running_s: float
    is_paused: bool

    def estimate(self, job: Job, workers: int) -> QueueEstimate:
        """Return the estimate of a job that has not ended."""
        place = self.places.get(job.id)
        jobs_before = place.jobs_before if place else None
        waiting_for = self._waiting_for(job, jobs_before, workers)
        own_s = _left(self.times.seconds(work_of(job.request)), job.step or 0, job.total_steps or 0)
        if own_s is None:
            return QueueEstimate(jobs_before, None, *self.fill, waiting_for)
        waiting_s = 0.0
        if job.status is Status.QUEUED:
            waiting_s = (self.running_s + (place.before_s if place else 0.0)) / max(1, workers)
        return QueueEstimate(jobs_before, round(waiting_s + own_s, 2), *self.fill, waiting_for)

    def _waiting_for(self, job: Job, jobs_before: int | None, workers: int) -> WaitingFor | None:
        if job.status is not Status.QUEUED:
            return None
        if self.is_paused:
            return "resume"
        return "jobs" if jobs_before and workers else "worker"


def _left(seconds: float | None, step: int, total_steps: int) -> float | None:
    if seconds is None:
        return None
    return seconds * (1 - min(1.0, step / total_steps if total_steps else 0.0))
