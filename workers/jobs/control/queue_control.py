"""What administrators do to queues: pause and resume them, and count the waiting jobs of each owner."""

from collections.abc import Callable
from dataclasses import dataclass

from config.settings import JobSettings, RedisSettings
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys, queue_name
from workers.jobs.redis.scripts import PAUSE


@dataclass(frozen=True)
class WaitingOwner:
    """What waits of one owner in a graph's queue."""

    owner_id: str
    jobs: int
    bytes: int


class QueueControl:
    """The queues, for administrators. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings, message: Callable[[str], str]) -> None:
        """``message(queue)`` makes the message that wakes a worker of a queue."""
        self._jobs = jobs
        self._message = message
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._pause = self._redis.register_script(PAUSE.source(self._keys))

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
