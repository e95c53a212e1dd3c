"""What concerns many jobs at once: all of an owner's are cancelled, and administrators see and change queues."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from api.live_models import LiveModels
from config.settings import Settings
from graphs.errors import JobNotFound, JobNotWaiting
from workers.jobs.control.queue_control import FailedJob, QueueControl, WaitingOwner, WaitingPage
from workers.jobs.job import Job
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.observe.queue_view import QueueView
from workers.jobs.status import Status
from workers.jobs.store import ID, JobStore

# Jobs that are cancelled side by side, and by one request.
_CANCELLED_AT_ONCE = 20
_MOST_CANCELLED = 1000


class QueueOperator:
    """Cancels an owner's jobs, changes queues, shows what waits. Its methods raise ServiceUnavailable without Redis."""

    def __init__(
        self,
        settings: Settings,
        models: LiveModels,
        store: JobStore,
        queue: QueueView,
        message: Callable[[str], str],
    ) -> None:
        """``message(queue)`` makes the message that wakes a worker of a queue."""
        self._models = models
        self._store = store
        self._queue = queue
        self._control = QueueControl(settings.redis, settings.jobs, message)

    async def cancel(self, owner_id: str, status: str | None) -> tuple[int, bool]:
        """Cancel the owner's jobs that wait or run, or those with one of these statuses, the newest first.

        Returns how many, of which those that run end at their next step, and whether more are left: a call is bounded.
        """
        cancelled = 0
        for one in [status] if status else [Status.QUEUED, Status.IN_PROGRESS]:
            after: Job | None = None
            while True:
                page = await self._queue.page(
                    owner_id, after=after, limit=_CANCELLED_AT_ONCE, newest_first=True, status=one
                )
                await asyncio.gather(*(self._cancel(job) for job in page.jobs))
                cancelled += len(page.jobs)
                if not page.has_more:
                    break
                if cancelled >= _MOST_CANCELLED:
                    return cancelled, True
                after = page.jobs[-1]
        return cancelled, False

    async def pause(self, model: str | None) -> list[str]:
        """Let no job of a model's graph begin, or of any. Returns those where that is new. Raises ModelNotFound."""
        return [graph for graph in await self._graphs(model) if await self._control.pause(graph)]

    async def resume(self, model: str | None) -> list[str]:
        """Let jobs begin again. Returns the graphs that were paused. Raises ModelNotFound."""
        digest = self._models.on_disk.digest
        return [graph for graph in await self._graphs(model) if await self._control.resume(graph, digest(graph))]

    async def waiting(self) -> dict[str, list[WaitingOwner]]:
        """Return what waits of each owner, by graph."""
        return {graph: await self._control.waiting(graph) for graph in await self._graphs(None)}

    async def workers(self) -> list[WorkerPresence]:
        """Return all live workers, with the jobs that their last heartbeats named."""
        return await self._control.workers()

    async def jobs(self, model: str | None, after: str, limit: int) -> tuple[str, WaitingPage]:
        """Return a model's graph, and the jobs that wait in its queue behind the job ``after`` ('': from the first).

        Raises ModelNotFound, InvalidRequest where several models are served and none is named, and JobNotFound.
        """
        if after and not ID.fullmatch(after):
            raise JobNotFound(f"{after[:100]!r} is no id of a job.", param="after")
        graph = await self._graph(model)
        return graph, await self._control.jobs(graph, after, limit)

    async def failures(self, model: str | None, limit: int) -> list[tuple[str, FailedJob]]:
        """Return the last jobs that failed with their graphs, the newest first: of a model, or of all.

        Raises ModelNotFound.
        """
        graphs = await self._graphs(model)
        found = [(graph, job) for graph in graphs for job in await self._control.failures(graph, limit)]
        return sorted(found, key=lambda one: -one[1].failed_at)[:limit]

    async def to_front(self, job: Job) -> None:
        """Move a job before all others that wait in its queue. Raises JobNotWaiting and JobNotFound."""
        status = await self._control.to_front(job.request.graph, job.id)
        if status is None:
            raise JobNotFound(f"There is no job {job.id!r} any more.")
        if status is not Status.QUEUED:
            raise JobNotWaiting(f"The job {job.id!r} is {status} and has no place in the queue any more.")

    async def close(self) -> None:
        """Close the connections."""
        await self._control.close()

    async def _cancel(self, job: Job) -> None:
        with suppress(JobNotFound):  # it was erased meanwhile
            await self._store.cancel(job)

    async def _graphs(self, model: str | None) -> list[str]:
        if model is None:
            return list(self._models.on_disk.repository.graphs)
        return [await self._graph(model)]

    async def _graph(self, model: str | None) -> str:
        return (await self._models.repository()).route(model).graph.name
