"""Cancels jobs that no client waits for any more."""

import asyncio
import logging

from api.drain import ApiDrain
from graphs.errors import ImagegenError
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)


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
