"""The parts of answers: jobs and images as response bodies, their links, and headers."""

import base64
import math
import time
from collections.abc import Sequence
from urllib.parse import quote

from api.answer.schemas import (
    ImageData,
    ImagesResponse,
    JobBody,
    JobErrorBody,
    JobFile,
    JobQueue,
    JobStage,
    JobUrls,
    Usage,
)
from api.answer.signed_urls import UrlSigner
from graphs.requests.output_formats import OUTPUT_FORMATS
from workers.jobs.job import Job, status_shown
from workers.jobs.observe.queue_view import QueueEstimate
from workers.jobs.status import EXPIRED, Status

_MAX_HEADER_LENGTH = 1000
# Fields of a resolved request that decide nothing in the image.
_NOT_PARAMETERS = {"graph", "warnings"}

CONTENT_TYPES = {name: image_format.content_type for name, image_format in OUTPUT_FORMATS.items()}


class Links:
    """The URLs in an answer. They begin with the address of this API and the prefix (/v3 or /v1) of the request."""

    def __init__(self, root: str, path: str) -> None:
        """``root``: the address at which clients reach this API; ``path``: that of the request."""
        self._base = f"{root.rstrip('/')}/{path.lstrip('/').partition('/')[0]}"

    def job(self, job_id: str) -> str:
        """Return the URL of a job."""
        return f"{self._base}/images/jobs/{job_id}"

    def file(self, token: str, suffix: str) -> str:
        """Return the URL of an artifact with a signed token; ``suffix`` is its output format."""
        return f"{self._base}/images/files/{quote(token)}.{suffix}"


def embedded(job: Job, artifacts: Sequence[bytes]) -> ImagesResponse:
    """Return an answer with the images themselves, in base64."""
    return _response(job, [{"b64_json": base64.b64encode(artifact).decode()} for artifact in artifacts])


def linked(job: Job, count: int, signer: UrlSigner, links: Links) -> ImagesResponse:
    """Return an answer with URLs that serve the images until they expire."""
    suffix = job.request.output_format
    urls = [links.file(signer.token(job, index), suffix) for index in range(count)]
    return _response(job, [{"url": url} for url in urls])


def job_body(job: Job, estimate: QueueEstimate, links: Links, signer: UrlSigner | None = None) -> JobBody:
    """Return the job object; without ``signer`` it has no files."""
    request = job.request
    url = links.job(job.name)
    now = time.time()
    status = status_shown(job, now)
    count = job.artifacts if status != EXPIRED else 0
    contents = [f"{url}/content?index={index}" for index in range(count)]
    return JobBody(
        id=job.name,
        operation=request.operation.value,
        model=request.model,
        adapters={adapter.alias: adapter.alpha for adapter in request.adapters},
        status=status,
        progress=job.progress,
        step=job.step,
        total_steps=job.total_steps,
        queue_position=estimate.queue_position,
        queue=_queue(estimate),
        waiting_for=estimate.waiting_for,
        stage=_stage(job),
        eta_seconds=estimate.eta_s,
        created_at=int(job.created_at),
        started_at=_whole(job.started_at),
        completed_at=_whole(job.completed_at),
        expires_at=_whole(job.expires_at),
        created_at_ms=round(job.created_at * 1000),
        started_at_ms=_milliseconds(job.started_at),
        completed_at_ms=_milliseconds(job.completed_at),
        timings=stage_seconds(job) if job.status is Status.COMPLETED else None,
        parameters=request.model_dump(mode="json", exclude=_NOT_PARAMETERS),
        prompt=request.prompt,
        size=request.size,
        n=request.num_images_per_prompt,
        guidance_scale=request.guidance_scale,
        seed=request.rng_seed,
        seeds=request.seeds,
        attempts=job.attempts,
        error=JobErrorBody(code=job.error.code, message=job.error.message) if job.error else None,
        usage=Usage() if job.status is Status.COMPLETED else None,
        metadata=job.options.metadata,
        warnings=list(job.warnings),
        files=[_file(job, index, signer, links, now) for index in range(count)] if signer else None,
        urls=JobUrls(
            self=url, result=f"{url}/result", content=contents, events=f"{url}/events", cancel=f"{url}/cancel"
        ),
    )


def _file(job: Job, index: int, signer: UrlSigner, links: Links, now: float) -> JobFile:
    request = job.request
    return JobFile(
        url=links.file(signer.token(job, index), request.output_format),
        expires_at=signer.expires_at(job, now),
        media_type=CONTENT_TYPES[request.output_format],
        size_bytes=job.artifact_sizes[index] if job.artifact_sizes else None,
        width=request.width,
        height=request.height,
    )


def _stage(job: Job) -> JobStage | None:
    if job.status.is_final:
        return None
    if job.status is Status.QUEUED:
        return "waiting"
    if not job.step:
        return "preparing"
    return "drawing" if job.step != job.total_steps else "finishing"


def _queue(estimate: QueueEstimate) -> JobQueue | None:
    if estimate.depth is None or estimate.limit is None:
        return None
    return JobQueue(depth=estimate.depth, limit=estimate.limit)


def poll_headers(job: Job, estimate: QueueEstimate) -> dict[str, str]:
    """Return when to poll next: after a tenth of the time left, 0.2 to 10 s; no headers once the job has ended."""
    if job.status.is_final:
        return {}
    wait_s = min(10.0, max(0.2, (1.0 if estimate.eta_s is None else estimate.eta_s) / 10))
    return {"openai-poll-after-ms": str(int(wait_s * 1000)), "Retry-After": str(math.ceil(wait_s))}


def warning_headers(job: Job) -> dict[str, str]:
    """Return the warnings of a job as a header, shortened to what proxies take; none if there are no warnings."""
    text = " ".join(" ".join(job.warnings).split()).encode("ascii", "backslashreplace").decode()
    return {"x-imagegen-warnings": text[:_MAX_HEADER_LENGTH]} if text else {}


def server_timing(job: Job) -> str:
    """Return the time of each stage as a Server-Timing header (W3C), in milliseconds."""
    return ", ".join(f"{stage};dur={value * 1000:.1f}" for stage, value in sorted(stage_seconds(job).items()))


def stage_seconds(job: Job) -> dict[str, float]:
    """Return how long each stage of a job took, with the time in the queue."""
    stages = dict(job.seconds or {})
    if job.started_at is not None:
        stages["queue"] = round(max(0.0, job.started_at - job.created_at), 6)
    return stages


def _response(job: Job, images: Sequence[dict[str, str]]) -> ImagesResponse:
    """Return the answer; ``images`` has the ``b64_json`` or the ``url`` of each image."""
    request = job.request
    return ImagesResponse(
        created=int(job.completed_at or job.created_at),
        data=[ImageData(**image, seed=request.seed_of(index)) for index, image in enumerate(images)],
        output_format=request.output_format,
        size=request.size,
        seed=request.rng_seed,
        warnings=list(job.warnings) or None,
    )


def _milliseconds(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
