"""Answers an image request in the form that it asks for: with images, as a stream, or with the job."""

from fastapi.responses import JSONResponse, Response

from api.answer.responses import Links, embedded, job_body, linked, poll_headers, server_timing, warning_headers
from api.answer.signed_urls import signer_of_bodies, url_signer
from api.answer.streaming import event_stream, json_after_spaces, stream_images
from api.request.submission import ImageRequest
from api.service import ImageService
from workers.jobs.job import Job


async def answer(request: ImageRequest, service: ImageService, links: Links) -> Response:
    """Submit the request, wait for its job as its headers ask, and return the answer.

    Raises what ``ImageRequest.submit`` and ``ImageService.artifacts`` raise, and ShuttingDown.
    """
    wait_s = request.headers.wait_s
    job, _ = await request.submit(service, detached=wait_s is not None)
    if request.body.stream:
        return event_stream(stream_images(service, job, request if wait_s is None else None))
    if wait_s is None and request.headers.white_space_s is not None:
        body = _waited_for(request, service, links, job)
        return json_after_spaces(body, request.headers.white_space_s, _headers(job))
    if wait_s is None:
        job = await service.wait_while_connected(job, request)
    elif wait_s > 0:
        job = await service.wait_at_most(job, wait_s)
    if not job.status.is_final:
        return await accepted(job, service, links)
    headers = {"Server-Timing": server_timing(job), **_headers(job)}
    return Response(await _images(request, service, links, job), media_type="application/json", headers=headers)


async def _waited_for(request: ImageRequest, service: ImageService, links: Links, job: Job) -> bytes:
    return await _images(request, service, links, await service.wait_while_connected(job, request))


async def _images(request: ImageRequest, service: ImageService, links: Links, job: Job) -> bytes:
    """Return the body with the images of an ended job, in the format that the request asks for."""
    artifacts = await service.artifacts(job)
    if await service.response_format(job, request.body.model, request.body.response_format) == "url":
        body = linked(job, len(artifacts), await url_signer(service), links)
    else:
        body = embedded(job, artifacts)
    return body.model_dump_json(exclude_none=True).encode()


def _headers(job: Job) -> dict[str, str]:
    return {"x-imagegen-job-id": job.name, **warning_headers(job)}


async def accepted(job: Job, service: ImageService, links: Links, status: int = 202) -> Response:
    """Return the answer with the job itself, its URL, and when to poll it."""
    estimate = await service.estimate(job)
    headers = {"Location": links.job(job.name), **poll_headers(job, estimate), **warning_headers(job)}
    body = job_body(job, estimate, links, await signer_of_bodies(service))
    return JSONResponse(body.model_dump(), status, headers)
