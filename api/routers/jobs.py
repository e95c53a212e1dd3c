"""Jobs: submit, look up, list, follow, fetch, cancel, delete. The bodies are those of the routes that wait."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.answer.answers import accepted
from api.answer.responses import embedded, job_body, poll_headers, server_timing
from api.answer.schemas import ImagesResponse, JobBody, JobDeleted, JobPage, JobsCancelled
from api.answer.signed_urls import signer_of_bodies
from api.answer.streaming import event_stream, stream_job, stream_owner
from api.answer.thumbnails import thumbnail
from api.http.dependencies import (
    AnswerLinks,
    CountedOwner,
    Drain,
    KeyOwner,
    PathJob,
    Service,
    current_keys,
    named_owner,
)
from api.http.errors import documented
from api.http.openapi import EVENT_STREAM, body_docs
from api.request.submission import read_generation_or_edit
from api.routers.files import ARTIFACT_DOCS, artifact_response
from api.routers.images import EDIT_DOCS, GENERATION_DOCS, REFUSALS
from graphs import errors
from graphs.errors import InvalidRequest, JobNotFound
from workers.jobs.status import FINAL_STATUSES, ShownStatusName
from workers.jobs.store import ID

router = APIRouter(tags=["jobs"])

# The paths beside those of single jobs.
_NOT_IDS = ("cancel", "events")
_ENTRY_ID = r"[0-9]{1,15}-[0-9]{1,15}"

_DOCS = body_docs(
    {
        **EDIT_DOCS,
        "application/json": {"anyOf": [GENERATION_DOCS["application/json"], EDIT_DOCS["application/json"]]},
    },
    headers=True,
)
_JOB: dict[int | str, dict[str, Any]] = {202: {"model": JobBody, "description": "The job."}, **REFUSALS}
_JOB_AGAIN: dict[int | str, dict[str, Any]] = {
    200: {"model": JobBody, "description": "The same job as before."},
    **_JOB,
}
_LISTING = documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.JobNotFound, errors.ServiceUnavailable)
_RESULT = {**_LISTING, **documented(errors.ArtifactExpired, errors.JobFailed)}
_CONTENT = {**ARTIFACT_DOCS, **documented(errors.QueueFull)}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": EVENT_STREAM},
    204: {"description": "There are no further events."},
    **_LISTING,
}
_OWNER_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": EVENT_STREAM},
    **documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.ServiceUnavailable),
}


@router.post("/images/jobs", status_code=202, responses=_JOB, openapi_extra=_DOCS)
async def submit(request: Request, owner: CountedOwner, service: Service, links: AnswerLinks) -> Response:
    """Submit a job: the body of a generation, or of an edit where it brings an image."""
    image_request = await read_generation_or_edit(request, owner)
    job, _ = await image_request.submit(service, detached=True)
    return await accepted(job, service, links)


@router.put("/images/jobs/{job_id}", status_code=202, responses=_JOB_AGAIN, openapi_extra=_DOCS)
async def put(job_id: str, request: Request, owner: CountedOwner, service: Service, links: AnswerLinks) -> Response:
    """Submit a job under an id of your own, a name among your jobs only; the same again returns the same job."""
    if not ID.fullmatch(job_id):
        raise InvalidRequest("A job id has 1 to 64 letters, digits, - and _.", param="job_id")
    if job_id in _NOT_IDS:
        raise InvalidRequest(f"{job_id!r} is the name of a route and no id of a job.", param="job_id")
    image_request = await read_generation_or_edit(request, owner)
    job, is_new = await image_request.submit(service, detached=True, name=job_id)
    return await accepted(job, service, links, 202 if is_new else 200)


@router.get("/images/jobs", responses=_LISTING)
async def jobs(
    owner: KeyOwner,
    service: Service,
    links: AnswerLinks,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    status: ShownStatusName | None = None,
) -> JobPage:
    """List your jobs, newest first unless ``order=asc``."""
    page = await service.jobs(owner.id, after=after, limit=limit, newest_first=order == "desc", status=status)
    estimates = await service.estimates(page.jobs)
    bodies = [job_body(job, estimate, links) for job, estimate in zip(page.jobs, estimates, strict=True)]
    first, last = (bodies[0].id, bodies[-1].id) if bodies else (None, None)
    return JobPage(data=bodies, first_id=first, last_id=last, has_more=page.has_more)


@router.post("/images/jobs/cancel", responses={**_LISTING, **documented(errors.NotAllowed)})
async def cancel_many(
    request: Request,
    key_owner: KeyOwner,
    service: Service,
    status: Literal["queued", "in_progress"] | None = None,
    owner: Annotated[str | None, Query(description="For administrators: the label or id of another owner.")] = None,
) -> JobsCancelled:
    """Cancel all of your jobs that wait or run, or those with one status; up to about a thousand in a call."""
    whose = key_owner if owner is None else named_owner(request, key_owner, owner)
    cancelled, has_more = await service.operator.cancel(whose.id, status)
    return JobsCancelled(cancelled=cancelled, has_more=has_more)


@router.get("/images/jobs/events", response_class=StreamingResponse, responses=_OWNER_EVENTS)
async def owner_events(
    request: Request,
    owner: KeyOwner,
    service: Service,
    drain: Drain,
    starting_after: Annotated[str | None, Query(pattern=f"^{_ENTRY_ID}$")] = None,
    last_event_id: Annotated[str, Header(description="As starting_after, from a browser's EventSource.")] = "",
    timeout_s: Annotated[float | None, Query(ge=0, le=86400, description="Ends the stream after so long.")] = None,
) -> Response:
    """Follow all of your jobs as server-sent events, from now on or from where a former stream ended.

    The first event is ``start``, or ``gap`` where events after the former stream are gone: list your jobs then.
    """
    heard = last_event_id if re.fullmatch(_ENTRY_ID, last_event_id) else ""
    passages = service.follow_owner(owner.id, heard if starting_after is None else starting_after, timeout_s)
    return event_stream(stream_owner(service, drain, passages, lambda: current_keys(request).has_owner(owner.id)))


@router.get("/images/jobs/{job_id}", response_model=JobBody, responses=_LISTING)
async def job(job: PathJob, service: Service, links: AnswerLinks) -> Response:
    """Return a job: its status, its progress, and when to poll it next."""
    estimate = await service.estimate(job)
    body = job_body(job, estimate, links, await signer_of_bodies(service))
    return JSONResponse(body.model_dump(), headers=poll_headers(job, estimate))


@router.get("/images/jobs/{job_id}/result", responses=_RESULT)
async def result(job: PathJob, service: Service, response: Response) -> ImagesResponse:
    """Return a completed job's images as the waiting routes do."""
    images = await service.artifacts(job)
    response.headers["Server-Timing"] = server_timing(job)
    return embedded(job, images)


# The next two routes read the job themselves: a PathJob would report an unknown job before an invalid query parameter.
@router.get("/images/jobs/{job_id}/content", response_class=Response, responses=_CONTENT)
async def content(
    job_id: str,
    owner: KeyOwner,
    service: Service,
    index: Annotated[int, Query(ge=0, le=1000)] = 0,
    width: Annotated[int | None, Query(ge=16, le=2048, description="Scales it down to so many pixels.")] = None,
) -> Response:
    """Return one of a completed job's images as it is, or scaled down."""
    job = await service.find(job_id, owner.id)
    artifacts = await service.artifacts(job)
    if index >= len(artifacts):
        raise JobNotFound(f"The job has {len(artifacts)} images; the first is index 0.", param="index")
    artifact = artifacts[index]
    return artifact_response(job, artifact if width is None else await thumbnail(service.turns, job, artifact, width))


@router.get("/images/jobs/{job_id}/events", response_class=StreamingResponse, responses=_EVENTS)
async def events(
    job_id: str,
    owner: KeyOwner,
    service: Service,
    drain: Drain,
    links: AnswerLinks,
    starting_after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    last_event_id: Annotated[str, Header(description="As starting_after, from a browser's EventSource.")] = "",
) -> Response:
    """Follow a job as server-sent events, from its beginning or from where a former stream ended.

    An EventSource that has heard the last event gets 204, which keeps it from connecting again.
    """
    job = await service.find(job_id, owner.id)
    heard = int(last_event_id) if re.fullmatch(r"\d{1,15}", last_event_id, re.ASCII) else 0
    if heard and heard >= job.events and job.status in FINAL_STATUSES:
        return Response(status_code=204)
    return event_stream(stream_job(service, drain, job, heard if starting_after is None else starting_after, links))


@router.post("/images/jobs/{job_id}/cancel", responses=_LISTING)
async def cancel(job: PathJob, service: Service, links: AnswerLinks) -> JobBody:
    """Cancel a job: at once while it waits, at its next step while it runs. Again and afterwards: no effect."""
    job = await service.cancel(job)
    return job_body(job, await service.estimate(job), links, await signer_of_bodies(service))


@router.delete("/images/jobs/{job_id}", responses=_LISTING)
async def delete(job: PathJob, service: Service) -> JobDeleted:
    """Cancel a job and erase it with its images."""
    await service.erase(job)
    return JobDeleted(id=job.name)
