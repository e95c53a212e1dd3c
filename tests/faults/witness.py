"""Looks at Redis from behind, past every proxy: which job runs where, and when each job changed."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.faults.parts import GRAPH
from tests.support.redis_keys import keys
from workers.jobs.status import FINAL_STATUSES

_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)


@dataclass(frozen=True)
class Running:
    """A job in a worker's hands: ``pid`` is that of the worker's main process."""

    job_id: str
    pid: int
    attempt: int


@dataclass
class Story:
    """A job's transitions as they were announced: unix seconds of Redis's clock, and the kind.

    ``name`` is the one that its client knows, empty until it was read.
    """

    changes: list[tuple[float, str]] = field(default_factory=list)
    name: str = ""

    def count(self, kind: str) -> int:
        return sum(found == kind for _, found in self.changes)

    @property
    def ends(self) -> list[str]:
        return [kind for _, kind in self.changes if kind in FINAL_STATUSES]

    def started_after(self, moment: float) -> float | None:
        """When an attempt began after this moment."""
        return next((at for at, kind in self.changes if kind == "in_progress" and at > moment), None)

    def attempts(self) -> list[tuple[float, float]]:
        """Each attempt's beginning, and the next change of status."""
        kept = [(at, kind) for at, kind in self.changes if kind not in ("progress", "preview")]
        following = [at for at, _ in kept[1:]] + [float("inf")]
        return [(at, end) for (at, kind), end in zip(kept, following, strict=True) if kind == "in_progress"]


class Witness:
    """Its own connection to Redis; while Redis is away it sees nothing, and reads on later."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.asyncio.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0), client_name="witness"
        )
        self.stories: dict[str, Story] = {}
        self._last = dict.fromkeys((keys.steps, keys.events), "-")
        self._reading = asyncio.Lock()

    async def running(self) -> list[Running]:
        """The jobs that workers hold now; none while Redis does not say."""
        found = []
        with contextlib.suppress(*_AWAY):
            for raw in await self.client.zrange(keys.running(GRAPH), 0, -1):
                worker, attempts = await self.client.hmget(keys.job(raw.decode()), "worker", "attempts")
                if worker:
                    found.append(Running(raw.decode(), int(worker.split(b"/")[1]), int(attempts)))
        return found

    async def read_on(self) -> None:
        """Take in what was announced since the last time. Called often: the stream is cut to its last entries."""
        # One reader at a time: two would begin at the same entry and count it twice.
        async with self._reading:
            await self._read_on()

    async def _read_on(self) -> None:
        with contextlib.suppress(*_AWAY):
            for stream, last in self._last.items():
                for number, fields in await self.client.xrange(stream, last, "+"):
                    self._last[stream] = f"({number.decode()}"
                    story = self.stories.setdefault(fields[b"job_id"].decode(), Story())
                    story.changes.append((int(number.partition(b"-")[0]) / 1000, fields[b"type"].decode()))
                    story.changes.sort(key=lambda change: change[0])
            for job_id, story in self.stories.items():
                if not story.name:
                    name = await self.client.hget(keys.job(job_id), "name")
                    story.name = name.decode() if name else job_id

    async def close(self) -> None:
        await self.client.aclose()
