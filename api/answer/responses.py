"""Jobs and pictures as the wire wants them."""

import base64
import math
import time
from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request

from api.answer.signed_urls import UrlSigner
from api.request.schemas import ImageData, ImagesResponse, JobBody, JobErrorBody, JobUrls, Usage
from workers.jobs.job import Job, Status, status_shown
from workers.jobs.observe.queue_view import QueueEstimate

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def base_url(request: Request, public_url: str | None) -> str:
    """Return the address that clients reach this API at, with the prefix (/v3 or /v1) of this request."""
    root = (public_url or str(request.base_url)).rstrip("/")
    return f"{root}/{request.url.path.lstrip('/').partition('/')[0]}"


def embedded(job: Job, pictures: Sequence[bytes]) -> ImagesResponse:
    """Answer with the pictures themselves, in base64."""
    return _response(job, [ImageData(b64_json=base64.b64encode(picture).decode()) for picture in pictures])


def linked(job: Job, count: int, signer: UrlSigner, base: str) -> ImagesResponse:
    """Answer with addresses that serve the pictures until they expire."""
    suffix = job.request.output_format
    urls = [f"{base}/images/files/{quote(signer.token(job.id, index))}.{suffix}" for index in range(count)]
    return _response(job, [ImageData(url=url) for url in urls])


def job_body(job: Job, outlook: QueueEstimate, base: str) -> JobBody:
    """Return the job object."""
    request, home = job.request, f"{base}/images/jobs/{job.id}"
    status = status_shown(job, time.time())
    contents = [f"{home}/content?index={index}" for index in range(job.artifacts if status != "expired" else 0)]
    return JobBody(
        id=job.id,
        operation=request.operation.value,
        model=request.model,
        status=status,
        progress=job.progress,
        step=job.step,
        total_steps=job.total_steps,
        queue_position=outlook.queue_position,
        eta_seconds=outlook.eta_s,
        created_at=int(job.created_at),
        started_at=_whole(job.started_at),
        completed_at=_whole(job.completed_at),
        expires_at=_whole(job.expires_at),
        prompt=request.prompt,
        size=request.size,
        n=request.num_images_per_prompt,
        seed=request.rng_seed,
        attempts=job.attempts,
        error=JobErrorBody(code=job.error.code, message=job.error.message) if job.error else None,
        usage=Usage() if job.status is Status.COMPLETED else None,
        metadata=job.options.metadata,
        urls=JobUrls(
            self=home, result=f"{home}/result", content=contents, events=f"{home}/events", cancel=f"{home}/cancel"
        ),
    )


def poll_headers(job: Job, outlook: QueueEstimate) -> dict[str, str]:
    """Return when to ask again: a tenth of what is left, between 0.2 and 10 s; nothing once the job has ended."""
    if job.status.is_final:
        return {}
    wait_s = min(10.0, max(0.2, (1.0 if outlook.eta_s is None else outlook.eta_s) / 10))
    return {"openai-poll-after-ms": str(int(wait_s * 1000)), "Retry-After": str(math.ceil(wait_s))}


def server_timing(job: Job) -> str:
    """Return where the time went as a Server-Timing header (W3C), in milliseconds."""
    stages = dict(job.seconds or {})
    if job.started_at is not None:
        stages["queue"] = max(0.0, job.started_at - job.created_at)
    return ", ".join(f"{stage};dur={value * 1000:.1f}" for stage, value in sorted(stages.items()))


def _response(job: Job, data: list[ImageData]) -> ImagesResponse:
    request = job.request
    return ImagesResponse(
        created=int(job.completed_at or job.created_at),
        data=data,
        output_format=request.output_format,
        size=request.size,
        seed=request.rng_seed,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
