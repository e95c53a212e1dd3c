"""Jobs: look one up, fetch its result, cancel it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.dependencies import Service, Signer
from api.responses import CONTENT_TYPES, base_url, embedded, job_body
from api.schemas import ImagesResponse, JobBody
from graphs.errors import JobNotFound
from workers.jobs.job import Job

router = APIRouter(tags=["jobs"])


async def _body(request: Request, service: Service, job: Job) -> JobBody:
    position = await service.store.queue_position(job)
    return job_body(job, position, base_url(request, service.settings.http.public_url))


@router.get("/images/jobs/{job_id}")
async def job(job_id: str, request: Request, service: Service) -> JobBody:
    """Tell how far a job is."""
    return await _body(request, service, await service.store.get(job_id))


@router.get("/images/jobs/{job_id}/result")
async def result(job_id: str, service: Service) -> ImagesResponse:
    """Return a completed job's pictures as the waiting routes do."""
    found = await service.store.get(job_id)
    return embedded(found, await service.pictures(found))


@router.post("/images/jobs/{job_id}/cancel")
async def cancel(job_id: str, request: Request, service: Service) -> JobBody:
    """Cancel a job: at once while it waits, at its next step while it runs. Again and afterwards: no effect."""
    return await _body(request, service, await service.store.cancel(job_id))


@router.get("/images/files/{token}.{suffix}", response_class=Response)
async def file(token: str, suffix: str, service: Service, signer: Signer) -> Response:
    """Serve one picture to whoever holds its address, until that expires."""
    job_id, index = signer.read(token)
    found = await service.store.get(job_id)
    pictures = await service.pictures(found)
    if suffix != found.request.output_format or index >= len(pictures):
        raise JobNotFound("There is no picture at this address.")
    headers = {
        "Cache-Control": "private, immutable",
        "Content-Disposition": "inline",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(pictures[index], media_type=CONTENT_TYPES[suffix], headers=headers)
