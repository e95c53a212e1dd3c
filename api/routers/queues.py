"""``images/queue``: how many jobs wait and run for each graph, and what its workers do."""

from fastapi import APIRouter

from api.answer.schemas import QueueBody, QueuedGraphBody, WorkerBody
from api.http.dependencies import KeyOwner, Service
from api.http.errors import documented
from graphs.errors import AuthenticationFailed, ServiceUnavailable
from workers.jobs.observe.presence import WorkerPresence

router = APIRouter(tags=["jobs"])


@router.get("/images/queue", responses=documented(AuthenticationFailed, ServiceUnavailable))
async def queue(_: KeyOwner, service: Service) -> QueueBody:
    """Show the queues and the workers; no jobs, which belong to their owners."""
    figures = await service.queue_figures()
    graphs = [
        QueuedGraphBody(
            model=name,
            queued=graph.queued,
            queued_limit=service.queue_bounds.jobs,
            running=graph.running,
            oldest_wait_seconds=round(graph.oldest_wait_s, 1),
            workers=[_worker(worker) for worker in figures.workers if worker.graph == name],
        )
        for name, graph in figures.graphs.items()
    ]
    return QueueBody(data=graphs)


def _worker(worker: WorkerPresence) -> WorkerBody:
    """Return what anyone may know of a worker: its name has that of its machine."""
    at = None if worker.last_error_at is None else int(worker.last_error_at)
    return WorkerBody(
        device=worker.device, ready=worker.ready, stage=worker.stage, last_error=worker.last_error, last_error_at=at
    )
