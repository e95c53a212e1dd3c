"""Helpers that submit, claim and end jobs in a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis

from config.settings import JobSettings, RedisSettings
from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from tests.support.redis_keys import keys
from workers.jobs.claims import Claim, Claims
from workers.jobs.control.queue_control import QueueControl
from workers.jobs.events import JobEvent, JobEvents, OwnerEvents, OwnerEventsFound
from workers.jobs.job import Job, JobError
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import FEWEST
from workers.jobs.observe.metrics_view import MetricsSnapshot, MetricsView
from workers.jobs.observe.queue_view import QueueEstimate, QueueView
from workers.jobs.recovery import Recovery
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


def a_submission(owner: str = "anyone", **changed: Any) -> Submission:
    """Return a submission of ``a_request`` by this owner; ``changed`` are other fields of Submission."""
    return Submission(a_request(), options=JobOptions(owner=owner), **changed)


def on_store(settings: RedisSettings, act: Callable[[JobStore], Awaitable[T]], jobs: JobSettings = JOBS) -> T:
    """Call ``act`` with a job store, the API's side."""

    async def with_store() -> T:
        store = JobStore(settings, jobs)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


def put_in(settings: RedisSettings, submission: Submission, jobs: JobSettings = JOBS) -> tuple[Job, bool]:
    """Submit; return the job and whether it is new."""
    return on_store(settings, lambda store: store.submit(submission), jobs)


def submit(settings: RedisSettings, image: bytes = b"", mask: bytes = b"", **changed: Any) -> Job:
    return put_in(settings, Submission(a_request(**changed), image=image, mask=mask))[0]


def look(settings: RedisSettings, job: Job) -> Job:
    """Return the present state of the job."""
    return on_store(settings, lambda store: store.get(job.id, None))


def cancel(settings: RedisSettings, job: Job) -> Job:
    return on_store(settings, lambda store: store.cancel(job))


def erase(settings: RedisSettings, job: Job) -> None:
    on_store(settings, lambda store: store.erase(job))


def follow(settings: RedisSettings, job: Job, after: int = 0) -> list[JobEvent]:
    """Return the present events of the job with a sequence number above ``after``."""

    async def read() -> list[JobEvent]:
        events = JobEvents(settings)
        try:
            return await events.after(job.id, after)
        finally:
            await events.close()

    return asyncio.run(read())


def owner_events(settings: RedisSettings, owner: str, after: str = "") -> OwnerEventsFound:
    """Return the present events of the owner's jobs after an entry, and follow the owner from now on."""

    async def read() -> OwnerEventsFound:
        events = OwnerEvents(settings)
        try:
            return await events.after(owner, after)
        finally:
            await events.close()

    return asyncio.run(read())


def on_queue(settings: RedisSettings, act: Callable[[QueueView], Awaitable[T]]) -> T:
    """Call ``act`` with a view of the queue."""

    async def with_view() -> T:
        view = QueueView(settings, JOBS)
        try:
            return await act(view)
        finally:
            await view.close()

    return asyncio.run(with_view())


def on_control(settings: RedisSettings, act: Callable[[QueueControl], Awaitable[T]]) -> T:
    """Call ``act`` with what administrators use; it wakes no worker."""

    async def with_control() -> T:
        control = QueueControl(settings, JOBS, lambda _: "")
        try:
            return await act(control)
        finally:
            await control.close()

    return asyncio.run(with_control())


def on_metrics(settings: RedisSettings, graphs: list[str]) -> MetricsSnapshot:
    """Return the metrics of these graphs."""

    async def read() -> MetricsSnapshot:
        view = MetricsView(settings)
        try:
            return await view.read(graphs)
        finally:
            await view.close()

    return asyncio.run(read())


def estimate(settings: RedisSettings, job: Job, workers: int = 1) -> QueueEstimate:
    return on_queue(settings, lambda view: view.estimates([job], {job.request.graph: workers}))[0]


def claims_of(settings: RedisSettings, owner: str = "one", jobs: JobSettings = JOBS) -> Claims:
    return Claims(settings, jobs, owner)


def claimed(settings: RedisSettings, job: Job, owner: str = "one", jobs: JobSettings = JOBS) -> Claim:
    """Claim the job, which is first in its queue."""
    claim = claims_of(settings, owner, jobs).claim_next(job.request.graph)
    assert claim is not None
    assert claim.job.id == job.id
    return claim


def ended(settings: RedisSettings, job: Job, status: Status = Status.COMPLETED) -> Job:
    """Claim the job, which is first in its queue, and end it with this status."""
    claims, claim = claims_of(settings), claimed(settings, job)
    if status is Status.COMPLETED:
        assert claims.complete(claim, [b"image"], {})
    elif status is Status.FAILED:
        assert claims.fail(claim, JobError("generation_failed", "It went wrong."))
    else:
        cancel(settings, job)
        assert claims.cancelled(claim)
    return look(settings, job)


class Upkeep(Recovery):
    """A recovery that records the queues for which it would wake a worker, in place of sending a message."""

    def __init__(
        self,
        settings: RedisSettings,
        owner: str = "one",
        jobs: JobSettings = SHORT,
        graph: str = GRAPH,
        digest: str = "",
    ) -> None:
        self.sent: list[str] = []
        super().__init__(settings, jobs, owner, graph, self.sent.append, digest)


def client(settings: RedisSettings) -> "redis.Redis":
    return redis.Redis.from_url(settings.url or "", decode_responses=True)


def write_layout_version(settings: RedisSettings, version: str) -> None:
    """Write the version of the layout as another release would."""
    with client(settings) as raw:
        raw.set(keys.layout, version)


def waiting(settings: RedisSettings, graph: str = GRAPH) -> list[str]:
    """Return the ids of the waiting jobs in their order."""
    with client(settings) as raw:
        return list(raw.zrange(keys.queued(graph), 0, -1))


def with_step_times(settings: RedisSettings, step_s: float) -> None:
    """Let the last jobs of the graph have taken so many seconds for each step of a megapixel, and nothing else."""
    line = f"10 1 {10**6} {10 * step_s} 0 {10 * step_s}"
    with client(settings) as raw:
        raw.delete(keys.times(GRAPH))
        raw.rpush(keys.times(GRAPH), *[line] * FEWEST)
