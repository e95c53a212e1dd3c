"""Jobs: submit, look up, list, follow, fetch, cancel, erase. The bodies are those of the waiting routes."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from api.answer.answers import SSE_HEADERS, accepted
from api.answer.responses import CONTENT_TYPES, base_url, embedded, job_body, poll_headers
from api.answer.streaming import stream_job
from api.http.auth import AskingOwner, KeyOwner
from api.http.dependencies import Service, Signer
from api.http.errors import documented
from api.http.openapi import EVENT_STREAM, OPEN, PICTURES, body_docs
from api.request.schemas import ImagesResponse, JobBody, JobDeleted, JobPage
from api.request.submission import ask_for_either
from api.routers.images import EDIT_DOCS, GENERATION_DOCS, REFUSALS
from api.service import ImageService
from graphs import errors
from graphs.errors import InvalidRequest, JobNotFound
from workers.jobs.job import Job

router = APIRouter(tags=["jobs"])

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_DOCS = body_docs(
    {
        **EDIT_DOCS,
        "application/json": {"anyOf": [GENERATION_DOCS["application/json"], EDIT_DOCS["application/json"]]},
    },
    wishes=True,
)
_JOB: dict[int | str, dict[str, Any]] = {202: {"model": JobBody, "description": "The job."}, **REFUSALS}
_JOB_AGAIN: dict[int | str, dict[str, Any]] = {
    200: {"model": JobBody, "description": "The same job as before."},
    **_JOB,
}
_LISTING = documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.JobNotFound, errors.ServiceUnavailable)
_PICTURES = {**_LISTING, **documented(errors.ArtifactExpired, errors.JobFailed)}
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"description": "The picture.", "content": PICTURES}, **_PICTURES}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"description": "The events.", "content": EVENT_STREAM}, **_LISTING}


@router.post("/images/jobs", status_code=202, responses=_JOB, openapi_extra=_DOCS)
async def submit(request: Request, owner: AskingOwner, service: Service) -> Response:
    """Submit a job: the body of a generation, or of an edit where it brings a picture."""
    ask = await ask_for_either(request, owner)
    job, _ = await ask.submit(service, detached=True)
    return await accepted(request, service, job)


@router.put("/images/jobs/{job_id}", status_code=202, responses=_JOB_AGAIN, openapi_extra=_DOCS)
async def put(job_id: str, request: Request, owner: AskingOwner, service: Service) -> Response:
    """Submit a job under an id of your own; the same again returns the same job."""
    if not _ID.fullmatch(job_id):
        raise InvalidRequest("A job id has 1 to 64 letters, digits, - and _.", param="job_id")
    ask = await ask_for_either(request, owner)
    job, is_new = await ask.submit(service, detached=True, job_id=job_id)
    return await accepted(request, service, job, 202 if is_new else 200)


@router.get("/images/jobs", responses=_LISTING)
async def jobs(
    request: Request,
    owner: KeyOwner,
    service: Service,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"] | None = None,
) -> JobPage:
    """List your jobs, newest first unless ``order=asc``."""
    edge = await service.store.get(after, owner.id) if after else None
    page = await service.queue.page(owner.id, after=edge, limit=limit, newest_first=order == "desc", status=status)
    bodies = [await _body(request, service, job) for job in page.jobs]
    first, last = (bodies[0].id, bodies[-1].id) if bodies else (None, None)
    return JobPage(data=bodies, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/images/jobs/{job_id}", response_model=JobBody, responses=_LISTING)
async def job(job_id: str, request: Request, owner: KeyOwner, service: Service) -> Response:
    """Tell how far a job is, and when to ask again."""
    found = await service.store.get(job_id, owner.id)
    outlook = await service.outlook(found)
    body = job_body(found, outlook, base_url(request, service.settings.http.public_url))
    return JSONResponse(body.model_dump(), headers=poll_headers(found, outlook))


@router.get("/images/jobs/{job_id}/result", responses=_PICTURES)
async def result(job_id: str, owner: KeyOwner, service: Service) -> ImagesResponse:
    """Return a completed job's pictures as the waiting routes do."""
    found = await service.store.get(job_id, owner.id)
    return embedded(found, await service.pictures(found))


@router.get("/images/jobs/{job_id}/content", response_class=Response, responses=_PICTURE)
async def content(
    job_id: str, owner: KeyOwner, service: Service, index: Annotated[int, Query(ge=0, le=1000)] = 0
) -> Response:
    """Return one of a completed job's pictures as it is."""
    found = await service.store.get(job_id, owner.id)
    pictures = await service.pictures(found)
    if index >= len(pictures):
        raise JobNotFound(f"The job has {len(pictures)} pictures; the first is index 0.", param="index")
    return _picture(found, pictures[index])


@router.get("/images/jobs/{job_id}/events", response_class=StreamingResponse, responses=_EVENTS)
async def events(
    job_id: str,
    request: Request,
    owner: KeyOwner,
    service: Service,
    starting_after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> StreamingResponse:
    """Follow a job as server-sent events, from its beginning or from where a former stream ended."""
    found = await service.store.get(job_id, owner.id)
    base = base_url(request, service.settings.http.public_url)
    parts = stream_job(service, found, starting_after, base)
    return StreamingResponse(parts, media_type="text/event-stream", headers=SSE_HEADERS)


@router.post("/images/jobs/{job_id}/cancel", responses=_LISTING)
async def cancel(job_id: str, request: Request, owner: KeyOwner, service: Service) -> JobBody:
    """Cancel a job: at once while it waits, at its next step while it runs. Again and afterwards: no effect."""
    found = await service.store.get(job_id, owner.id)
    return await _body(request, service, await service.store.cancel(found))


@router.delete("/images/jobs/{job_id}", responses=_LISTING)
async def delete(job_id: str, owner: KeyOwner, service: Service) -> JobDeleted:
    """Cancel a job and erase it with its pictures."""
    found = await service.store.get(job_id, owner.id)
    await service.store.erase(found)
    return JobDeleted(id=job_id)


@router.get(
    "/images/files/{token}.{suffix}", response_class=Response, responses=_PICTURE, openapi_extra=OPEN, tags=["images"]
)
async def file(token: str, suffix: str, service: Service, signer: Signer) -> Response:
    """Serve one picture to whoever holds its address, until that expires."""
    job_id, index = signer.read(token)
    found = await service.store.get(job_id, None)
    pictures = await service.pictures(found)
    if suffix != found.request.output_format or index >= len(pictures):
        raise JobNotFound("There is no picture at this address.")
    return _picture(found, pictures[index])


async def _body(request: Request, service: ImageService, job: Job) -> JobBody:
    base = base_url(request, service.settings.http.public_url)
    return job_body(job, await service.outlook(job), base)


def _picture(job: Job, picture: bytes) -> Response:
    headers = {
        "Cache-Control": "private, immutable",
        "Content-Disposition": "inline",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(picture, media_type=CONTENT_TYPES[job.request.output_format], headers=headers)
