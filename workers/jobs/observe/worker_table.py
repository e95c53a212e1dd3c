"""The heartbeats of all workers as an API process knows them; only those that changed are read again."""

from config.settings import RedisSettings
from workers.jobs.observe.presence import WorkerPresence, has_lately_failed, presence_of
from workers.jobs.redis.clients import AsyncRedisClient
from workers.jobs.redis.connection import redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import PRESENCES


class WorkerTable:
    """Reads the live workers. What that costs does not grow with the workers whose state stays the same."""

    def __init__(self, redis: AsyncRedisClient, settings: RedisSettings) -> None:
        self._keys = Keys.of(settings)
        self._read = redis.register_script(PRESENCES.source(self._keys))
        self._known: dict[bytes, WorkerPresence] = {}
        self._read_at_ms: int | None = None

    async def live(self) -> list[WorkerPresence]:
        """Return the workers with a recent heartbeat, by name. Raises ServiceUnavailable.

        ``seen_at`` and ``activity`` of a worker whose state stays the same are those of an earlier heartbeat.
        """
        silent, now_ms = await self._update()
        if silent is None:  # the table was changed otherwise, as by a Redis that lost its data
            self._read_at_ms = None
            silent, now_ms = await self._update()
        gone = silent or set()
        live = [
            one
            for name, one in self._known.items()
            if (has_lately_failed(one, now_ms / 1000) if one.error else name not in gone)
        ]
        return sorted(live, key=lambda one: one.name)

    async def _update(self) -> tuple[set[bytes] | None, int]:
        """Read what has changed. Returns the silent workers, None where not all workers are known; and Redis's time."""
        with redis_errors():
            call = PRESENCES.call(self._keys, since_ms=self._read_at_ms)
            now_ms, is_all, found, silent, count = await self._read(**call)
        if is_all:
            self._known = {}
        for name, beat in zip(found[::2], found[1::2], strict=True):
            if beat:
                self._known[name] = presence_of(beat)
            else:
                self._known.pop(name, None)
        self._read_at_ms = now_ms
        return set(silent) if is_all or len(self._known) == count else None, now_ms
