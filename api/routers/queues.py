"""``images/queue``: how many jobs wait and run for each graph, and what its workers do."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.answer.queue_schemas import (
    QueueBody,
    QueueChanged,
    QueuedGraphBody,
    WaitingOwnerBody,
    WaitingOwners,
    WorkerBody,
)
from api.http.dependencies import Administrator, KeyOwner, Keys, Service
from api.http.errors import documented
from graphs.errors import AuthenticationFailed, ModelNotFound, NotAllowed, ServiceUnavailable
from workers.jobs.observe.presence import WorkerPresence

router = APIRouter(tags=["jobs"])

_OPERATORS = documented(AuthenticationFailed, NotAllowed, ModelNotFound, ServiceUnavailable)
_Model = Annotated[str | None, Query(description="A model of the graph; all graphs where it is left out.")]


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
            paused_at=None if graph.paused_at is None else int(graph.paused_at),
            workers=[_worker(worker) for worker in figures.workers if worker.graph == name],
        )
        for name, graph in figures.graphs.items()
    ]
    return QueueBody(data=graphs)


@router.get("/images/queue/owners", responses=_OPERATORS)
async def owners(_: Administrator, keys: Keys, service: Service) -> WaitingOwners:
    """Show, to administrators, how many jobs of each owner wait; nothing of what they ask for."""
    found = await service.operator.waiting()
    data = [
        WaitingOwnerBody(owner=keys.shown(one.owner_id), model=graph, queued=one.jobs, queued_bytes=one.bytes)
        for graph, waiting in found.items()
        for one in waiting
    ]
    return WaitingOwners(data=data)


@router.post("/images/queue/pause", responses=_OPERATORS)
async def pause(_: Administrator, service: Service, model: _Model = None) -> QueueChanged:
    """Let no further job of a model begin, or of any; what runs goes on, and new jobs are accepted."""
    return QueueChanged(paused=True, models=await service.operator.pause(model))


@router.post("/images/queue/resume", responses=_OPERATORS)
async def resume(_: Administrator, service: Service, model: _Model = None) -> QueueChanged:
    """Let jobs of a model begin again, or of all."""
    return QueueChanged(paused=False, models=await service.operator.resume(model))


def _worker(worker: WorkerPresence) -> WorkerBody:
    """Return what anyone may know of a worker: its name has that of its machine."""
    at = None if worker.last_error_at is None else int(worker.last_error_at)
    return WorkerBody(
        device=worker.device, ready=worker.ready, stage=worker.stage, last_error=worker.last_error, last_error_at=at
    )
