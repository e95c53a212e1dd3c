"""Waits for jobs: one reader of Redis wakes all coroutines of this process that wait for one.

No end is missed: the ends that came before a coroutine registered are remembered for a while, and a coroutine that
waits reads its job every few seconds, with or without a change in the stream.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Protocol

from api.waiting.changes import Changes
from config.settings import RedisSettings
from graphs.errors import JobNotFound, ServiceUnavailable
from workers.jobs.events import Change, EventReader, JobEvent, JobEvents
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.jobs.store import JobStore

REREAD_S = 5.0
# Many more than end between the moment at which a job is stored or read and that at which its client waits.
_ENDS_REMEMBERED = 4096


class WaitingEnded(Exception):
    """This process ends before the job; its client can wait for the job elsewhere, or later."""


class Client(Protocol):
    """A client that waits on its connection for the end of a job."""

    async def disconnected(self) -> None:
        """Return once the client has disconnected."""

    def grace_s(self) -> float:
        """Return for how many seconds the job is kept after the client disconnected."""


class JobWaiter:
    """Lets coroutines wait for the end of a job, or follow it."""

    def __init__(self, store: JobStore, redis_settings: RedisSettings) -> None:
        self._store = store
        self._events = JobEvents(redis_settings)
        self._ends = Changes(EventReader.of_ends(redis_settings), self._note_end)
        # Only while a client follows a job: each step of each job is in it.
        self._steps = Changes(EventReader.of_steps(redis_settings), self._note_step)
        self._ended: dict[str, None] = {}
        # By job: what to set when it has ended, and what to set at each of its events.
        self._for_the_end: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._for_all: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        # By owner: what to set at each event of each of its jobs.
        self._for_owners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._over = False

    async def start(self) -> None:
        """Begin to read changes in the background."""
        self._ends.start()

    async def stop(self) -> None:
        """Stop reading."""
        await self._ends.stop()
        await self._steps.stop()
        await self._events.close()

    def end_waiting(self) -> None:
        """End all waiting, also that which begins later, with WaitingEnded."""
        self._over = True
        for registry in (self._for_the_end, self._for_all, self._for_owners):
            for changed in [event for events in registry.values() for event in events]:
                changed.set()

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended, with its artifacts, or as it stands after ``timeout_s`` seconds.

        Raises JobNotFound when its record is gone, ServiceUnavailable when Redis has lost its data, WaitingEnded. An
        absent Redis is waited for.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _registered(self._for_the_end, job.id) as changed:
            has_ended = job.status.is_final or job.id in self._ended
            is_known = has_ended or self._ends.misses_none
            while True:
                changed.clear()
                if not is_known:
                    has_ended = await self._has_ended(job)
                left = REREAD_S if deadline is None else min(REREAD_S, deadline - time.monotonic())
                if has_ended or left <= 0:
                    return await self._store.ended(job)
                self.check_not_over()
                await either(changed, left)
                is_known = has_ended = job.id in self._ended

    async def _has_ended(self, job: Job) -> bool:
        try:
            return (await self._store.status(job.id)).is_final
        except ServiceUnavailable:
            return False
        except JobNotFound:
            await self._check_not_emptied(job)
            raise

    async def follow(self, job: Job, after: int, heartbeat_s: float) -> AsyncIterator[JobEvent | None]:
        """Yield the job's events with a sequence number above ``after``, up to its final one.

        Yields None where nothing happened for ``heartbeat_s`` seconds. An absent Redis is waited for.
        Raises WaitingEnded.
        """
        with _registered(self._for_all, job.id) as changed:
            await self._read_steps()
            last_sent = time.monotonic()
            while True:
                changed.clear()
                events: list[JobEvent] = []
                with contextlib.suppress(ServiceUnavailable):
                    events = await self._events.after(job.id, after)
                    if not events and (end := await self._end_without_event(job, after)) is not None:
                        # It may have ended between the two readings: then its stream has more than its end.
                        events = await self._events.after(job.id, after) or [end]
                        if end.number <= after:
                            return
                for event in events:
                    yield event
                    after = event.number
                    last_sent = time.monotonic()
                    if event.is_final:
                        return
                self.check_not_over()
                if not events and time.monotonic() - last_sent >= heartbeat_s:
                    yield None
                    last_sent = time.monotonic()
                await either(changed, min(REREAD_S, heartbeat_s))

    @contextlib.asynccontextmanager
    async def changes_of(self, owner: str) -> AsyncIterator[asyncio.Event]:
        """Set the event that is yielded whenever one of the owner's jobs has an event, and when all waiting ends."""
        with _registered(self._for_owners, owner) as changed:
            await self._read_steps()
            yield changed

    def check_not_over(self) -> None:
        """Raise WaitingEnded where this process ends."""
        if self._over:
            raise WaitingEnded

    async def _read_steps(self) -> None:
        self._steps.start(lambda: bool(self._for_all or self._for_owners))
        await self._steps.begun()

    async def _check_not_emptied(self, job: Job) -> None:
        if await self._store.was_emptied_since(job):
            raise ServiceUnavailable(f"The job store (Redis) has lost its data, and {job.name} with it; send it again.")

    async def _end_without_event(self, job: Job, after: int) -> JobEvent | None:
        """Return the final event of a job whose stream has expired, or which was erased; None while it goes on."""
        try:
            found = await self._store.get(job.id, None)
        except JobNotFound:
            return JobEvent(after + 1, Status.CANCELLED.value, {})
        if not found.status.is_final:
            return None
        at_ms = None if found.completed_at is None else round(found.completed_at * 1000)
        return JobEvent(found.events, found.status.value, {}, at_ms=at_ms)

    def _note_end(self, change: Change) -> None:
        self._ended[change.job_id] = None
        if len(self._ended) > _ENDS_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        for changed in self._for_the_end.get(change.job_id, ()):
            changed.set()
        self._note_step(change)

    def _note_step(self, change: Change) -> None:
        for changed in (*self._for_all.get(change.job_id, ()), *self._for_owners.get(change.owner, ())):
            changed.set()


async def first_of(ended: Coroutine[Any, Any, Job], disconnected: Coroutine[Any, Any, None]) -> Job | None:
    """Return the ended job, or None where its client disconnects first. Raises what ``ended`` raises."""
    tasks = (asyncio.create_task(ended), asyncio.create_task(disconnected))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _registered(registry: defaultdict[str, set[asyncio.Event]], job_id: str) -> Iterator[asyncio.Event]:
    changed = asyncio.Event()
    registry[job_id].add(changed)
    try:
        yield changed
    finally:
        registry[job_id].discard(changed)
        if not registry[job_id]:
            del registry[job_id]


async def either(changed: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), seconds)
