"""Server-sent events: the four image events of OpenAI's API, and the events of a job, which have more fields.

OpenAI's parsers (openai-python 1.x to 3.x) fail on ``id:`` and ``retry:`` lines and on events without data, so the
image stream has none of them, and heartbeats are comments. A job's own events have ``id:`` lines, with which a
browser's EventSource goes on where its connection broke (WHATWG HTML, 9.2).
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.answer.responses import Links, job_body
from api.answer.schemas import Usage
from api.answer.signed_urls import signer_of_bodies
from api.drain import ApiDrain
from api.http.errors import error_body
from api.service import ImageService
from api.waiting.owner_feed import Passage
from api.waiting.waiter import Client, WaitingEnded
from graphs.errors import ImagegenError, ServiceUnavailable
from graphs.families.family import Operation
from workers.jobs.events import JobEvent
from workers.jobs.job import Job

_END_READINGS = 30
_END_READING_PAUSE_S = 1.0
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_HEARTBEAT = b": still here\n\n"
_CONTINUE_ELSEWHERE = b": the server is shutting down; go on with starting_after or Last-Event-ID\n\n"


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the answer that sends these server-sent events."""
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


def json_after_spaces(
    body: Coroutine[Any, Any, bytes], pause_s: float, headers: Mapping[str, str]
) -> StreamingResponse:
    """Return the answer that sends a space every ``pause_s`` seconds until the JSON ``body`` is there.

    JSON may begin with spaces (RFC 8259, 2). The status has been sent by the time of an error, whose object is the
    body.
    """
    return StreamingResponse(_after_spaces(body, pause_s), media_type="application/json", headers=dict(headers))


async def _after_spaces(body: Coroutine[Any, Any, bytes], pause_s: float) -> AsyncIterator[bytes]:
    coming = asyncio.create_task(body)
    try:
        while not (await asyncio.wait((coming,), timeout=pause_s))[0]:
            yield b" "
        yield coming.result()
    except ImagegenError as error:
        yield json.dumps(error_body(error)).encode()
    finally:
        coming.cancel()


async def stream_images(service: ImageService, job: Job, client: Client | None) -> AsyncIterator[bytes]:
    """Yield OpenAI's image stream of a job: partial images, then a completed event for each image.

    ``client`` abandons the job where it disconnects before the end; None for one that the job does not depend on.
    """
    family = "image_generation" if job.request.operation is Operation.GENERATION else "image_edit"
    ended = False
    try:
        async for event in service.follow(job):
            if event is None:
                yield _HEARTBEAT
            elif event.kind == "queued":
                yield f": queued, {event.values.get('queue_position', 0)} before it\n\n".encode()
            elif event.kind == "preview" and event.preview is not None:
                fields = {"partial_image_index": event.values["partial_image_index"]}
                yield _image(f"{family}.partial_image", job, event.preview, event.values["image_index"], fields)
            elif event.is_final:
                async for part in _end(service, job, family):
                    yield part
        ended = True
    except WaitingEnded:
        yield _error_event(service.refusal(job))
    finally:
        if client is not None and not ended:
            service.abandon_later(job, client)


async def stream_job(
    service: ImageService, drain: ApiDrain, job: Job, after: int, links: Links
) -> AsyncIterator[bytes]:
    """Yield a job's own events with a sequence number above ``after``. The shutdown of the process ends the stream."""
    with drain.not_waited_for():
        try:
            async for event in service.follow(job, after):
                yield _HEARTBEAT if event is None else await _job_event(service, job, event, links)
        except WaitingEnded:
            yield _CONTINUE_ELSEWHERE


async def stream_owner(
    service: ImageService, drain: ApiDrain, passages: AsyncIterator[Passage], is_known: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield the events of all jobs of an owner, while ``is_known`` says that the owner has a key."""
    with drain.not_waited_for():
        try:
            async for passage in passages:
                if not is_known():
                    return
                if passage.begins is not None:
                    yield _sse(passage.begins, {"type": passage.begins}, passage.position)
                for found in passage.events:
                    yield _sse(found.event.kind, _event_data(found.job_name, found.event), found.entry_id)
                if not passage.events and passage.begins is None:
                    yield _HEARTBEAT
        except WaitingEnded:
            yield _CONTINUE_ELSEWHERE


async def _end(service: ImageService, job: Job, family: str) -> AsyncIterator[bytes]:
    """Yield the last events of a stream. An absent Redis is waited for a while, as during the job."""
    for left in reversed(range(_END_READINGS)):
        try:
            job = await service.job(job.id)
            artifacts = await service.artifacts(job)
        except ImagegenError as error:
            if left == 0 or not isinstance(error, ServiceUnavailable):
                yield _error_event(error)
                return
            yield _HEARTBEAT
            await asyncio.sleep(_END_READING_PAUSE_S)
        else:
            for index, artifact in enumerate(artifacts):
                seed = job.request.seed_of(index)
                fields = {"usage": Usage().model_dump(), **({} if seed is None else {"seed": seed})}
                fields |= {"warnings": list(job.warnings)} if job.warnings else {}
                yield _image(f"{family}.completed", job, artifact, index, fields)
            return


def _error_event(error: ImagegenError) -> bytes:
    return _sse("error", {"type": "error", **error_body(error)})


def _image(kind: str, job: Job, encoded: bytes, index: int, fields: dict[str, Any]) -> bytes:
    data = {
        "type": kind,
        "b64_json": base64.b64encode(encoded).decode(),
        "created_at": int(job.created_at),
        "size": job.request.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": job.request.output_format,
        "image_index": index,
        **fields,
    }
    return _sse(kind, data)


async def _job_event(service: ImageService, job: Job, event: JobEvent, links: Links) -> bytes:
    data = _event_data(job.name, event)
    if event.preview is not None:
        data |= {"b64_json": base64.b64encode(event.preview).decode(), "output_format": job.request.output_format}
    if event.is_final:
        data["job"] = await _final_job(service, job, links)
    return _sse(event.kind, data, str(event.number))


def _event_data(job_name: str, event: JobEvent) -> dict[str, Any]:
    """Return what the streams of a job and of its owner say of an event."""
    data: dict[str, Any] = {"type": event.kind, "sequence_number": event.number, "job_id": job_name}
    data |= {"at_ms": event.at_ms, **event.values}
    if event.kind == "progress":
        data["progress"] = min(99, 100 * event.values["step"] // max(1, event.values["total_steps"]))
    return data


async def _final_job(service: ImageService, job: Job, links: Links) -> dict[str, Any] | None:
    try:
        found = await service.job(job.id)
        return job_body(found, await service.estimate(found), links, await signer_of_bodies(service)).model_dump()
    except ImagegenError:
        return None


def _sse(event: str, data: dict[str, Any], number: str | None = None) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(data, separators=(",", ":")), id=number)
