"""Artifacts: the stored images of completed jobs, served by signed URL."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from api.answer.responses import CONTENT_TYPES
from api.answer.signed_urls import url_signer
from api.http.answer_headers import IMAGE_POLICY
from api.http.dependencies import Keys, Service
from api.http.errors import documented
from api.http.openapi import IMAGES, OPEN
from graphs import errors
from workers.jobs.job import Job

router = APIRouter(tags=["images"])

ARTIFACT_DOCS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image.", "content": IMAGES},
    **documented(errors.InvalidRequest, errors.AuthenticationFailed, errors.JobNotFound, errors.ServiceUnavailable),
    **documented(errors.ArtifactExpired, errors.JobFailed),
}


@router.get("/images/files/{token}.{suffix}", response_class=Response, responses=ARTIFACT_DOCS, openapi_extra=OPEN)
async def file(token: str, suffix: str, service: Service, keys: Keys) -> Response:
    """Serve one image by its signed address, until that expires, its job is deleted or its key is revoked."""
    address = (await url_signer(service)).read(token)
    job = await service.job(address.job_id)
    if not address.is_of(job):
        raise errors.JobNotFound("There is no image at this address.")
    if not keys.has_owner(job.options.owner):
        raise errors.ArtifactExpired("This address ended with the API key that it was made for.")
    artifacts = await service.artifacts(job)
    if suffix != job.request.output_format or address.index >= len(artifacts):
        raise errors.JobNotFound("There is no image at this address.")
    return artifact_response(job, artifacts[address.index])


def artifact_response(job: Job, artifact: bytes) -> Response:
    """Return the answer that holds one of the job's encoded images."""
    headers = {
        "Cache-Control": "private, immutable",
        "Content-Disposition": "inline",
        "Content-Security-Policy": IMAGE_POLICY,
    }
    return Response(artifact, media_type=CONTENT_TYPES[job.request.output_format], headers=headers)
