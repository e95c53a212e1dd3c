"""Events of jobs, as Redis streams: one of all ends, one of all other events, each job's own, and that of each owner.

They are streams rather than pub/sub, because a reader whose connection was lost goes on after its last entry.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import FOLLOW
from workers.jobs.status import FINAL_STATUSES

_BLOCK_S = 5.0
_CHANGES_READ = 1000
_OWNER_EVENTS_READ = 200


@dataclass(frozen=True)
class Change:
    """A job of this owner has an event, which is in its own stream. ``owner`` is '' where release 0.1.0 wrote it."""

    job_id: str
    owner: str


@dataclass(frozen=True)
class JobEvent:
    """An entry of a job's own stream.

    ``kind`` is a status, "progress" or "preview"; ``preview`` is an image encoded in the request's output format.
    ``at_ms``: milliseconds since 1970 by the clock of Redis; None in events of releases up to 0.1.0.
    """

    number: int
    kind: str
    values: dict[str, int]
    preview: bytes | None = None
    at_ms: int | None = None

    @property
    def is_final(self) -> bool:
        """Return whether no event follows."""
        return self.kind in FINAL_STATUSES


@dataclass(frozen=True)
class OwnerEvent:
    """An entry of the stream of an owner's events: one of a job, without its picture.

    ``job_name`` is the job's id as its owner sees it.
    """

    entry_id: str
    job_name: str
    event: JobEvent


@dataclass(frozen=True)
class OwnerEventsFound:
    """What was read of an owner's stream.

    ``last`` is the id of its last entry. ``has_gap``: entries before what remains are gone, or the whole stream is
    another one; then nothing was read.
    """

    last: str
    events: list[OwnerEvent]
    has_more: bool
    has_gap: bool


class EventReader:
    """Reads a stream of changes, beginning at the call of ``start``."""

    def __init__(self, redis_settings: RedisSettings, stream: str) -> None:
        self._stream = stream
        self._redis = connect_async(redis_settings, block_s=_BLOCK_S)
        self._last = "0-0"

    @classmethod
    def of_ends(cls, redis_settings: RedisSettings) -> "EventReader":
        """Return a reader of the ends of jobs."""
        return cls(redis_settings, Keys.of(redis_settings).events)

    @classmethod
    def of_steps(cls, redis_settings: RedisSettings) -> "EventReader":
        """Return a reader of what happens to jobs before their ends."""
        return cls(redis_settings, Keys.of(redis_settings).steps)

    async def start(self) -> None:
        """Begin at the present end of the stream. Raises ServiceUnavailable."""
        with redis_errors():
            newest = await self._redis.xrevrange(self._stream, count=1)
        self._last = newest[0][0].decode() if newest else "0-0"

    async def read(self) -> AsyncIterator[Change]:
        """Wait up to five seconds and yield the new changes. Raises ServiceUnavailable; the next call goes on."""
        with redis_errors():
            found = await self._redis.xread({self._stream: self._last}, count=_CHANGES_READ, block=int(_BLOCK_S * 1000))
        for _, entries in found or []:
            for entry_id, fields in entries:
                self._last = entry_id.decode()
                yield Change(fields[b"job_id"].decode(), fields.get(b"owner", b"").decode())

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


class JobEvents:
    """Reads the jobs' own streams."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)

    async def after(self, job_id: str, number: int) -> list[JobEvent]:
        """Return a job's events with a sequence number above ``number``. Raises ServiceUnavailable."""
        with redis_errors():
            entries = await self._redis.xrange(self._keys.job_events(job_id), f"({number}-0", "+")
        return [_event(entry_id, fields) for entry_id, fields in entries]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class OwnerEvents:
    """Reads the streams of owners' events."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._follow = self._redis.register_script(FOLLOW.source(self._keys))

    async def after(self, owner: str, entry_id: str) -> OwnerEventsFound:
        """Return the owner's events after an entry, none where its id is ''. Raises ServiceUnavailable.

        From the first call on, and for an hour at least after the last one, the owner's newest 2000 events are kept.
        """
        call = FOLLOW.call(
            self._keys, owner_events_key=self._keys.owner_events(owner), after=entry_id, most=_OWNER_EVENTS_READ
        )
        with redis_errors():
            first, last, entries = await self._follow(**call)
        if entry_id and not _numbers(first.decode()) <= _numbers(entry_id) <= _numbers(last.decode()):
            return OwnerEventsFound(last.decode(), [], has_more=False, has_gap=True)
        events = [_owner_event(found, dict(zip(fields[::2], fields[1::2], strict=True))) for found, fields in entries]
        return OwnerEventsFound(last.decode(), events, has_more=len(events) == _OWNER_EVENTS_READ, has_gap=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _owner_event(entry_id: bytes, fields: dict[bytes, bytes]) -> OwnerEvent:
    name = fields.pop(b"job_id").decode()
    number = fields.pop(b"number")
    return OwnerEvent(entry_id.decode(), name, _event(number, fields))


def _numbers(entry_id: str) -> tuple[int, int]:
    milliseconds, _, place = entry_id.partition("-")
    return int(milliseconds), int(place)


def _event(entry_id: bytes, fields: dict[bytes, bytes]) -> JobEvent:
    kind = fields.pop(b"type").decode()
    preview = fields.pop(b"picture", None)  # the name belongs to the layout of the data in Redis
    values = {name.decode(): int(value) for name, value in fields.items()}
    at_ms = values.pop("at_ms", None)
    return JobEvent(int(entry_id.partition(b"-")[0]), kind, values, preview, at_ms)
