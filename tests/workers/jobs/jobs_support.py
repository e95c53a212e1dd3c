"""Jobs in a real Redis, driven by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis

from config.settings import JobSettings, RedisSettings
from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from workers.jobs.claims import Claim, Claims
from workers.jobs.events import JobEvent, JobEvents
from workers.jobs.job import Job, JobError
from workers.jobs.observe.metrics import MetricsView, Snapshot
from workers.jobs.observe.queue_view import QueueEstimate, QueueView
from workers.jobs.recovery import Recovery
from workers.jobs.redis import keys
from workers.jobs.status import Status
from workers.jobs.store import JobStore, Submission

T = TypeVar("T")
GRAPH = "demo"
JOBS = JobSettings()
# The shortest lease that settings allow.
SHORT = JobSettings(lease_s=1.001)


def a_request(**changed: Any) -> ResolvedRequest:
    values: dict[str, Any] = {
        "operation": Operation.GENERATION,
        "graph": GRAPH,
        "model": GRAPH,
        "prompt": "a red circle",
        "width": 128,
        "height": 128,
        "num_images_per_prompt": 1,
        "num_inference_steps": 4,
        "guidance_scale": 7.5,
        "rng_seed": 42,
    }
    return ResolvedRequest.model_validate({**values, **changed})


def on_store(settings: RedisSettings, act: Callable[[JobStore], Awaitable[T]], jobs: JobSettings = JOBS) -> T:
    """Do something with the API's side of the job store."""

    async def with_store() -> T:
        store = JobStore(settings, jobs)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


def put_in(settings: RedisSettings, submission: Submission, jobs: JobSettings = JOBS) -> tuple[Job, bool]:
    """Submit, and tell whether the job is new."""
    return on_store(settings, lambda store: store.submit(submission), jobs)


def submit(settings: RedisSettings, image: bytes = b"", mask: bytes = b"", **changed: Any) -> Job:
    return put_in(settings, Submission(a_request(**changed), image=image, mask=mask))[0]


def look(settings: RedisSettings, job: Job) -> Job:
    """The job as it stands now."""
    return on_store(settings, lambda store: store.get(job.id, None))


def cancel(settings: RedisSettings, job: Job) -> Job:
    return on_store(settings, lambda store: store.cancel(job))


def erase(settings: RedisSettings, job: Job) -> None:
    on_store(settings, lambda store: store.erase(job))


def follow(settings: RedisSettings, job: Job, after: int = 0) -> list[JobEvent]:
    """The job's events with a sequence number above ``after``, as they stand now."""

    async def read() -> list[JobEvent]:
        events = JobEvents(settings)
        try:
            return await events.after(job.id, after)
        finally:
            await events.close()

    return asyncio.run(read())


def on_queue(settings: RedisSettings, act: Callable[[QueueView], Awaitable[T]]) -> T:
    """Do something with the view of the queue."""

    async def with_view() -> T:
        view = QueueView(settings)
        try:
            return await act(view)
        finally:
            await view.close()

    return asyncio.run(with_view())


def on_metrics(settings: RedisSettings, graphs: list[str]) -> Snapshot:
    """What /metrics tells of these graphs."""

    async def read() -> Snapshot:
        view = MetricsView(settings)
        try:
            return await view.read(graphs)
        finally:
            await view.close()

    return asyncio.run(read())


def estimate(settings: RedisSettings, job: Job, workers: int = 1) -> QueueEstimate:
    return on_queue(settings, lambda view: view.estimate(job, workers))


def claims_of(settings: RedisSettings, owner: str = "one", jobs: JobSettings = JOBS) -> Claims:
    return Claims(settings, jobs, owner)


def claimed(settings: RedisSettings, job: Job, owner: str = "one", jobs: JobSettings = JOBS) -> Claim:
    """Claim the job, which is first in its queue."""
    claim = claims_of(settings, owner, jobs).claim_next(job.request.graph)
    assert claim is not None
    assert claim.job.id == job.id
    return claim


def ended(settings: RedisSettings, job: Job, status: Status = Status.COMPLETED) -> Job:
    """The job, first in its queue, claimed and brought to this end."""
    claims, claim = claims_of(settings), claimed(settings, job)
    if status is Status.COMPLETED:
        assert claims.complete(claim, [b"picture"], {})
    elif status is Status.FAILED:
        assert claims.fail(claim, JobError("generation_failed", "It went wrong."))
    else:
        cancel(settings, job)
        assert claims.cancelled(claim)
    return look(settings, job)


class Upkeep(Recovery):
    """A worker's recovery that keeps for which graphs it woke a worker, instead of doing so."""

    def __init__(
        self, settings: RedisSettings, owner: str = "one", jobs: JobSettings = SHORT, graph: str = GRAPH
    ) -> None:
        self.sent: list[str] = []
        super().__init__(settings, jobs, owner, graph, self.sent.append)


def client(settings: RedisSettings) -> "redis.Redis":
    return redis.Redis.from_url(settings.url or "", decode_responses=True)


def waiting(settings: RedisSettings, graph: str = GRAPH) -> list[str]:
    """The ids of the jobs that wait, in their order."""
    with client(settings) as behind:
        return list(behind.zrange(keys.queued(graph), 0, -1))
