"""Waits for jobs: one reader of Redis wakes all coroutines of this process that wait for one.

No end is missed: a coroutine that waits reads its job after it has registered, and again every few seconds, with or
without a change in the stream.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Protocol

from api.drain import ApiDrain
from graphs.errors import ImagegenError, JobNotFound, ServiceUnavailable
from workers.jobs.events import EventReader, JobEvent, JobEvents
from workers.jobs.job import Job
from workers.jobs.status import FINAL_STATUSES, Status
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)

_REREAD_S = 5.0
_RECONNECT_S = 0.5
_STOP_AGAIN_S = 0.2


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

    def __init__(self, store: JobStore, reader: EventReader, events: JobEvents) -> None:
        self._store = store
        self._reader = reader
        self._events = events
        # By job: what to set when it has ended, and what to set at each of its events.
        self._for_the_end: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._for_all: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._over = False

    async def start(self) -> None:
        """Begin to read changes in the background."""
        self._task = asyncio.create_task(self._read_forever(), name="events")

    async def stop(self) -> None:
        """Stop reading."""
        while self._task is not None and not self._task.done():
            # Repeated, because redis-py swallows a cancellation that arrives while it connects.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_AGAIN_S)
        await self._reader.close()
        await self._events.close()

    def end_waiting(self) -> None:
        """End all waiting, also that which begins later, with WaitingEnded."""
        self._over = True
        for registry in (self._for_the_end, self._for_all):
            for changed in [event for events in registry.values() for event in events]:
                changed.set()

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended, or as it stands after ``timeout_s`` seconds.

        Raises JobNotFound when its record is gone, ServiceUnavailable when Redis has lost its data, WaitingEnded. An
        absent Redis is waited for.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _registered(self._for_the_end, job.id) as changed:
            while True:
                changed.clear()
                ended = False
                try:
                    ended = (await self._store.status(job.id)).is_final
                except ServiceUnavailable:
                    pass
                except JobNotFound:
                    await self._check_not_emptied(job)
                    raise
                left = _REREAD_S if deadline is None else min(_REREAD_S, deadline - time.monotonic())
                if ended or left <= 0:
                    return await self._store.get(job.id, None)
                self._check_not_over()
                await _either(changed, left)

    async def follow(self, job: Job, after: int, heartbeat_s: float) -> AsyncIterator[JobEvent | None]:
        """Yield the job's events with a sequence number above ``after``, up to its final one.

        Yields None where nothing happened for ``heartbeat_s`` seconds. An absent Redis is waited for.
        Raises WaitingEnded.
        """
        with _registered(self._for_all, job.id) as changed:
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
                self._check_not_over()
                if not events and time.monotonic() - last_sent >= heartbeat_s:
                    yield None
                    last_sent = time.monotonic()
                await _either(changed, min(_REREAD_S, heartbeat_s))

    async def _check_not_emptied(self, job: Job) -> None:
        if await self._store.was_emptied_since(job):
            raise ServiceUnavailable(f"The job store (Redis) has lost its data, and {job.name} with it; send it again.")

    def _check_not_over(self) -> None:
        if self._over:
            raise WaitingEnded

    async def _end_without_event(self, job: Job, after: int) -> JobEvent | None:
        """Return the final event of a job whose stream has expired, or which was erased; None while it goes on."""
        try:
            found = await self._store.get(job.id, None)
        except JobNotFound:
            return JobEvent(after + 1, Status.CANCELLED.value, {})
        return JobEvent(found.events, found.status.value, {}) if found.status.is_final else None

    async def _read_forever(self) -> None:
        started = False
        while True:
            try:
                if not started:
                    await self._reader.start()
                    started = True
                async for change in self._reader.read():
                    waiting = self._for_all.get(change.job_id, set())
                    if change.kind in FINAL_STATUSES:
                        waiting = waiting | self._for_the_end.get(change.job_id, set())
                    for changed in waiting:
                        changed.set()
            except ServiceUnavailable as error:
                log.warning("%s; requests that wait for a job keep waiting", error)
                await asyncio.sleep(_RECONNECT_S)


class AbandonedJobs:
    """Cancels the jobs whose last waiting client has disconnected."""

    def __init__(self, store: JobStore, drain: ApiDrain, *, cancels: bool) -> None:
        """``cancels`` False: such jobs are only counted as abandoned, and go on."""
        self._store = store
        self._drain = drain
        self._cancels = cancels
        # The event loop keeps only weak references to tasks.
        self._abandon_tasks: set[asyncio.Task[None]] = set()
        # By job: the task of the client that left last and whose return is waited for.
        self._returning: dict[str, asyncio.Task[None] | None] = {}

    def abandon_later(self, job: Job, grace_s: float) -> None:
        """Note that one client stopped waiting for the job; without another client, cancel it after ``grace_s``.

        That happens in a task of its own: the caller may have been cancelled, and then cannot await anything.
        """
        task = asyncio.get_running_loop().create_task(self._abandon(job, grace_s))
        self._abandon_tasks.add(task)
        task.add_done_callback(self._abandon_tasks.discard)

    async def _abandon(self, job: Job, grace_s: float) -> None:
        try:
            if await self._is_abandoned(job, grace_s):
                cancelled = await self._store.cancel(job)
                if cancelled.status is not Status.COMPLETED:
                    log.info("%s is cancelled: its client has disconnected", job.id)
        except ImagegenError as error:  # the job was erased, or Redis is away: then the job ends by its own deadline
            log.info("%s is not cancelled: %s", job.id, error)

    async def _is_abandoned(self, job: Job, grace_s: float) -> bool:
        waiters = await self._store.add_waiter(job, -1)
        # While this process shuts down, its clients are disconnected by it: their retries join the job.
        if waiters > 0 or self._drain.is_over or not self._cancels:
            return False
        if grace_s:
            this = self._returning[job.id] = asyncio.current_task()
            await asyncio.sleep(grace_s)
            # A client that came back and left again meanwhile may come back once more.
            if self._returning.get(job.id) is not this:
                return False
            del self._returning[job.id]
            return await self._store.add_waiter(job, 0) <= 0 and not self._drain.is_over
        return True


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


async def _either(changed: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), seconds)
