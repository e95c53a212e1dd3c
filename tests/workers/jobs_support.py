"""Jobs in a real Redis, driven by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis

from config.settings import JobSettings, RedisSettings
from graphs.model_facts import Operation
from graphs.request import ResolvedRequest
from workers.jobs import keys
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import Job
from workers.jobs.recovery import Recovery
from workers.jobs.store import JobStore

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


def submit(settings: RedisSettings, image: bytes = b"", mask: bytes = b"", **changed: Any) -> Job:
    return on_store(settings, lambda store: store.submit(a_request(**changed), image, mask))


def look(settings: RedisSettings, job: Job) -> Job:
    """The job as it stands now."""
    return on_store(settings, lambda store: store.get(job.id))


def cancel(settings: RedisSettings, job: Job) -> Job:
    return on_store(settings, lambda store: store.cancel(job.id))


def claims_of(settings: RedisSettings, owner: str = "one", jobs: JobSettings = JOBS) -> Claims:
    return Claims(settings, jobs, owner)


def claimed(settings: RedisSettings, job: Job, owner: str = "one", jobs: JobSettings = JOBS) -> Claim:
    claim = claims_of(settings, owner, jobs).claim(job.id)
    assert claim is not None
    return claim


class Upkeep(Recovery):
    """A worker's recovery that keeps what it sent again, instead of sending it."""

    def __init__(
        self, settings: RedisSettings, owner: str = "one", jobs: JobSettings = SHORT, graph: str = GRAPH
    ) -> None:
        self.sent: list[tuple[str, str]] = []
        super().__init__(settings, jobs, owner, graph, lambda name, job_id: self.sent.append((name, job_id)))


def client(settings: RedisSettings) -> "redis.Redis":
    return redis.Redis.from_url(settings.url or "", decode_responses=True)


def waiting(settings: RedisSettings, graph: str = GRAPH) -> list[str]:
    """The ids of the jobs that wait, in their order."""
    with client(settings) as behind:
        return list(behind.zrange(keys.queued(graph), 0, -1))
