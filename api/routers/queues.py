"""``images/queue``: how many jobs wait and run for each graph, what its workers do, and what administrators change."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.answer.queue_schemas import (
    FailedJobBody,
    FailedJobs,
    JobMoved,
    NamedWorkerBody,
    QueueBody,
    QueueChanged,
    QueuedGraphBody,
    WaitingJobBody,
    WaitingJobs,
    WaitingOwnerBody,
    WaitingOwners,
    WorkerBody,
    Workers,
)
from api.http.dependencies import Administrator, KeyOwner, Keys, Service, named_owner
from api.http.errors import documented
from graphs.errors import (
    AuthenticationFailed,
    InvalidRequest,
    JobNotFound,
    JobNotWaiting,
    ModelNotFound,
    NotAllowed,
    ServiceUnavailable,
)
from workers.jobs.observe.presence import WorkerPresence

router = APIRouter(tags=["jobs"])

_OF_MODELS = (AuthenticationFailed, NotAllowed, ModelNotFound, ServiceUnavailable)
_OPERATORS = documented(*_OF_MODELS)
_OF_JOBS = (AuthenticationFailed, NotAllowed, InvalidRequest, JobNotFound, ServiceUnavailable)
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


@router.get("/images/queue/workers", responses=documented(AuthenticationFailed, NotAllowed, ServiceUnavailable))
async def workers(_: Administrator, service: Service) -> Workers:
    """Show, to administrators, each worker: its machine, model, job, and how long the stages of its last job took."""
    return Workers(data=[_named_worker(worker) for worker in await service.operator.workers()])


@router.get("/images/queue/jobs", responses=documented(*_OF_JOBS, ModelNotFound))
async def jobs(
    _: Administrator,
    keys: Keys,
    service: Service,
    model: Annotated[str | None, Query(description="May be left out where one model is served.")] = None,
    after: Annotated[str, Query(description="The id of the last job of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> WaitingJobs:
    """List, for administrators, the jobs that wait for a model, the next one first; nothing of what they ask for."""
    graph, page = await service.operator.jobs(model, after, limit)
    data = [
        WaitingJobBody(
            id=job.id,
            owner=keys.shown(job.owner_id),
            model=graph,
            priority=job.priority.value,
            created_at=int(job.created_at),
            queue_position=job.queue_position,
            moved=job.is_moved,
            steps=job.work.steps,
            n=job.work.pictures,
            pixels=job.work.pixels,
        )
        for job in page.jobs
    ]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return WaitingJobs(data=data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/images/queue/errors", responses=documented(*_OF_MODELS, InvalidRequest))
async def recent_errors(
    _: Administrator,
    keys: Keys,
    service: Service,
    model: _Model = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> FailedJobs:
    """List, for administrators, the last jobs that failed, the newest first, and why, but not what they asked for."""
    data = [
        FailedJobBody(
            id=job.id,
            owner=keys.shown(job.owner_id),
            model=graph,
            worker=job.worker or None,
            failed_at=int(job.failed_at),
            code=job.code,
            message=job.message,
        )
        for graph, job in await service.operator.failures(model, limit)
    ]
    return FailedJobs(data=data)


@router.post("/images/jobs/{job_id}/front", responses=documented(*_OF_JOBS, JobNotWaiting))
async def front(
    job_id: str,
    request: Request,
    administrator: Administrator,
    keys: Keys,
    service: Service,
    owner: Annotated[
        str | None, Query(description="The owner's label or id, where the job's id is one that its owner chose.")
    ] = None,
) -> JobMoved:
    """Move a waiting job before all others of its model, of every priority; the one that was moved last is first."""
    if owner is None:
        job = await service.job(job_id)
    else:
        job = await service.find(job_id, named_owner(request, administrator, owner).id)
    await service.operator.to_front(job)
    return JobMoved(id=job.id, owner=keys.shown(job.options.owner), model=job.request.graph)


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


def _named_worker(worker: WorkerPresence) -> NamedWorkerBody:
    activity = worker.activity
    shown = _worker(worker).model_dump()
    if worker.error:
        shown |= {"stage": "failed", "last_error": worker.error, "last_error_at": int(worker.seen_at)}
    return NamedWorkerBody(
        **shown,
        name=worker.name,
        model=worker.graph,
        digest=worker.digest or None,
        since=int(activity.since) or None,
        job=activity.job_id or None,
        last_job_seconds=dict(activity.seconds),
        seen_at=int(worker.seen_at),
    )
