"""Waiting for jobs without a thread or a connection each: one reader feeds all coroutines of this process.

Nothing is missed: whoever waits re-reads its job after it has registered, and again every few seconds, whatever the
stream of changes says.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

from graphs.errors import JobNotFound, ServiceUnavailable
from workers.jobs.events import FINAL, EventReader, JobEvent, JobEvents
from workers.jobs.job import Job
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)

_REREAD_S = 5.0
_RECONNECT_S = 0.5
_STOP_AGAIN_S = 0.2


class WaitingEnded(Exception):
    """This process ends: whoever waited for a job waits elsewhere, or later."""


class JobWaiter:
    """Lets coroutines wait for the end of a job, or follow it."""

    def __init__(self, store: JobStore, reader: EventReader, events: JobEvents) -> None:
        self._store, self._reader, self._events = store, reader, events
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
            # Again and again: redis-py swallows a cancellation that comes while it connects.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_AGAIN_S)
        await self._reader.close()
        await self._events.close()

    def end_waiting(self) -> None:
        """Let nobody wait any longer: all that do, and all that begin to, get WaitingEnded."""
        self._over = True
        for registry in (self._for_the_end, self._for_all):
            for changed in [event for events in registry.values() for event in events]:
                changed.set()

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended, or as it stands after ``timeout_s`` seconds.

        Raises JobNotFound when its record is gone, WaitingEnded. An absent Redis is waited for.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _registered(self._for_the_end, job.id) as changed:
            while True:
                changed.clear()
                ended = False
                with contextlib.suppress(ServiceUnavailable):
                    ended = (await self._store.status(job.id)).is_final
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
                        # It may have ended between the two looks: then its stream tells more than its end.
                        events = await self._events.after(job.id, after) or [end]
                        if end.number <= after:
                            return
                for event in events:
                    yield event
                    after, last_sent = event.number, time.monotonic()
                    if event.is_final:
                        return
                self._check_not_over()
                if not events and time.monotonic() - last_sent >= heartbeat_s:
                    yield None
                    last_sent = time.monotonic()
                await _either(changed, min(_REREAD_S, heartbeat_s))

    def _check_not_over(self) -> None:
        if self._over:
            raise WaitingEnded

    async def _end_without_event(self, job: Job, after: int) -> JobEvent | None:
        """The end of a job whose stream is gone, or which was erased: the record, or its absence, tells."""
        try:
            found = await self._store.get(job.id, None)
        except JobNotFound:
            return JobEvent(after + 1, "cancelled", {})
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
                    if change.kind in FINAL:
                        waiting = waiting | self._for_the_end.get(change.job_id, set())
                    for changed in waiting:
                        changed.set()
            except ServiceUnavailable as error:
                log.warning("%s; waiting requests go on waiting", error)
                await asyncio.sleep(_RECONNECT_S)


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
