"""Server-sent events: OpenAI's four image events, and our own richer ones for a job.

OpenAI's parsers (openai-python 1.x to 3.x) fail on ``id:`` and ``retry:`` lines and on events without data, so their
stream has neither, and its heartbeats are comments.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.sse import format_sse_event

from api.answer.responses import job_body
from api.http.errors import error_body
from api.request.schemas import Usage
from api.service import ImageService
from api.waiter import WaitingEnded
from graphs.errors import ImagegenError, ServiceUnavailable
from graphs.families.family import Operation
from workers.jobs.events import JobEvent
from workers.jobs.job import Job

_LOOKS_AT_THE_END, _LOOK_AGAIN_S = 30, 1.0
_HEARTBEAT = b": still here\n\n"
_GO_ON_ELSEWHERE = b": the server is shutting down; go on with starting_after\n\n"


async def stream_pictures(service: ImageService, job: Job) -> AsyncIterator[bytes]:
    """Yield OpenAI's image stream of a job: partial images, then a completed event for each picture."""
    family = "image_generation" if job.request.operation is Operation.GENERATION else "image_edit"
    async for event in service.follow(job):
        if event is None:
            yield _HEARTBEAT
        elif event.kind == "queued":
            yield f": queued, {event.values.get('queue_position', 0)} before it\n\n".encode()
        elif event.kind == "preview" and event.picture is not None:
            fields = {"partial_image_index": event.values["partial_image_index"]}
            yield _picture(f"{family}.partial_image", job, event.picture, event.values["image_index"], fields)
        elif event.is_final:
            async for part in _end(service, job, family):
                yield part


async def stream_job(service: ImageService, job: Job, after: int, base: str) -> AsyncIterator[bytes]:
    """Yield a job's own events with a sequence number above ``after``; also as long as the process may end."""
    with service.drain.not_waited_for():
        try:
            async for event in service.follow(job, after):
                yield _HEARTBEAT if event is None else await _job_event(service, job, event, base)
        except WaitingEnded:
            yield _GO_ON_ELSEWHERE


def error_event(error: ImagegenError) -> bytes:
    """Return the event with which a stream ends that has no pictures."""
    return _sse("error", {"type": "error", **error_body(error)})


async def _end(service: ImageService, job: Job, family: str) -> AsyncIterator[bytes]:
    """Yield what the stream ends with. An absent Redis is waited for a while, as during the job."""
    for left in reversed(range(_LOOKS_AT_THE_END)):
        try:
            job = await service.store.get(job.id, None)
            pictures = await service.pictures(job)
        except ImagegenError as error:
            if left == 0 or not isinstance(error, ServiceUnavailable):
                yield error_event(error)
                return
            yield _HEARTBEAT
            await asyncio.sleep(_LOOK_AGAIN_S)
        else:
            usage = Usage().model_dump()
            for index, picture in enumerate(pictures):
                more = {"usage": usage, "seed": job.request.rng_seed}
                yield _picture(f"{family}.completed", job, picture, index, more)
            return


def _picture(kind: str, job: Job, picture: bytes, index: int, more: dict[str, Any]) -> bytes:
    data = {
        "type": kind,
        "b64_json": base64.b64encode(picture).decode(),
        "created_at": int(job.created_at),
        "size": job.request.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": job.request.output_format,
        "image_index": index,
        **more,
    }
    return _sse(kind, data)


async def _job_event(service: ImageService, job: Job, event: JobEvent, base: str) -> bytes:
    data: dict[str, Any] = {"type": event.kind, "sequence_number": event.number, "job_id": job.id, **event.values}
    if event.kind == "progress":
        data["progress"] = min(99, 100 * event.values["step"] // max(1, event.values["total_steps"]))
    if event.picture is not None:
        data |= {"b64_json": base64.b64encode(event.picture).decode(), "output_format": job.request.output_format}
    if event.is_final:
        data["job"] = await _final_job(service, job, base)
    return _sse(event.kind, data)


async def _final_job(service: ImageService, job: Job, base: str) -> dict[str, Any] | None:
    try:
        found = await service.store.get(job.id, None)
    except ImagegenError:
        return None
    return job_body(found, await service.outlook(found), base).model_dump()


def _sse(event: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(data, separators=(",", ":")))
