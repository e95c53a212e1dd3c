"""Waiting for jobs without a thread or a connection each: one reader feeds all coroutines of this process.

Nothing is missed: a waiter re-reads its job after it has registered, and again every few seconds, whatever the
stream of events says.
"""

import asyncio
import contextlib
import logging
import time

from graphs.errors import JobNotFound, ServiceUnavailable
from workers.jobs.events import EventReader
from workers.jobs.job import Job
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)

_REREAD_S = 5.0
_RECONNECT_S = 0.5


class JobWaiter:
    """Lets coroutines wait for the end of a job."""

    def __init__(self, store: JobStore, reader: EventReader) -> None:
        self._store, self._reader = store, reader
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read events in the background."""
        self._task = asyncio.create_task(self._read_forever(), name="events")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._reader.close()

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended, or as it stands after ``timeout_s`` seconds.

        Raises JobNotFound when its record is gone. An absent Redis is waited for.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        changed = asyncio.Event()
        self._waiting.setdefault(job.id, set()).add(changed)
        try:
            while True:
                job = await self._read_job(job)
                left = _REREAD_S if deadline is None else min(_REREAD_S, deadline - time.monotonic())
                if job.status.is_final or left <= 0:
                    return job
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left)
                changed.clear()
        finally:
            self._forget(job.id, changed)

    async def _read_job(self, job: Job) -> Job:
        try:
            return await self._store.get(job.id)
        except JobNotFound:
            raise
        except ServiceUnavailable:
            return job

    def _forget(self, job_id: str, changed: asyncio.Event) -> None:
        events = self._waiting.get(job_id, set())
        events.discard(changed)
        if not events:
            self._waiting.pop(job_id, None)

    async def _read_forever(self) -> None:
        started = False
        while True:
            try:
                if not started:
                    await self._reader.start()
                    started = True
                async for event in self._reader.read():
                    if event.status.is_final:
                        for changed in self._waiting.get(event.job_id, ()):
                            changed.set()
            except ServiceUnavailable as error:
                log.warning("%s; waiting requests go on waiting", error)
                await asyncio.sleep(_RECONNECT_S)
