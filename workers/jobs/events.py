"""The stream of status changes, read by one task per API process.

A stream and not pub/sub: after a lost connection the reader goes on from the last entry it saw and misses nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs import keys
from workers.jobs.connection import connect_async, redis_errors
from workers.jobs.job import Status

_BLOCK_S = 5.0


@dataclass(frozen=True)
class StatusEvent:
    """A job's status changed."""

    job_id: str
    status: Status


class EventReader:
    """Reads the stream from the moment of ``start`` on."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._redis = connect_async(redis_settings, block_s=_BLOCK_S)
        self._last = "0-0"

    async def start(self) -> None:
        """Take the stream's present end as the beginning. Raises ServiceUnavailable."""
        with redis_errors():
            newest = await self._redis.xrevrange(keys.EVENTS, count=1)
        self._last = newest[0][0].decode() if newest else "0-0"

    async def read(self) -> AsyncIterator[StatusEvent]:
        """Wait up to some seconds and yield what came. Raises ServiceUnavailable; the next call goes on."""
        with redis_errors():
            found = await self._redis.xread({keys.EVENTS: self._last}, count=1000, block=int(_BLOCK_S * 1000))
        for _, entries in found or []:
            for entry_id, fields in entries:
                self._last = entry_id.decode()
                yield StatusEvent(fields[b"job_id"].decode(), Status(fields[b"status"].decode()))

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
