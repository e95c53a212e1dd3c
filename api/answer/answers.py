"""How a submitted job is answered: with its pictures, as a stream, or as the job."""

import asyncio
import logging
from collections.abc import AsyncIterator

from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request

from api.answer.responses import base_url, embedded, job_body, linked, poll_headers, server_timing
from api.answer.signed_urls import UrlSigner
from api.answer.streaming import error_event, stream_pictures
from api.request.headers import RETRY_PAUSE_S
from api.request.submission import Ask
from api.service import ImageService
from api.waiter import WaitingEnded
from graphs.errors import ImagegenError, ShuttingDown
from workers.jobs.job import Job

log = logging.getLogger(__name__)

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
# Kept from the garbage collector until they are done.
_farewells: set[asyncio.Task[None]] = set()


async def answer(ask: Ask, service: ImageService, signer: UrlSigner) -> Response:
    """Submit what is asked and answer as the client wishes."""
    detached = ask.wishes.wait_s is not None
    job, _ = await ask.submit(service, detached=detached)
    if ask.body.stream:
        parts = _streamed(ask, service, job, detached=detached)
        return StreamingResponse(parts, media_type="text/event-stream", headers=SSE_HEADERS)
    if detached:
        job = await _waited_a_while(ask.wishes.wait_s, service, job) if ask.wishes.wait_s else job
    else:
        job = await _waited_for(ask, service, job)
    if not job.status.is_final:
        return await accepted(ask.request, service, job)
    return await _pictures(ask, service, signer, job)


async def accepted(request: Request, service: ImageService, job: Job, status: int = 202) -> Response:
    """Answer with the job itself."""
    base = base_url(request, service.settings.http.public_url)
    outlook = await service.outlook(job)
    headers = {"Location": f"{base}/images/jobs/{job.id}", **poll_headers(job, outlook)}
    return JSONResponse(job_body(job, outlook, base).model_dump(), status, headers)


async def _pictures(ask: Ask, service: ImageService, signer: UrlSigner, job: Job) -> Response:
    pictures = await service.pictures(job)
    base = base_url(ask.request, service.settings.http.public_url)
    as_links = ask.body.response_format == "url"
    body = linked(job, len(pictures), signer, base) if as_links else embedded(job, pictures)
    return Response(
        body.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Server-Timing": server_timing(job), "x-imagegen-job-id": job.id},
    )


async def _waited_a_while(wait_s: float, service: ImageService, job: Job) -> Job:
    try:
        return await service.wait(job, wait_s)
    except ShuttingDown:  # the job is answer enough: its client can poll it anywhere
        return await service.store.get(job.id, None)


async def _waited_for(ask: Ask, service: ImageService, job: Job) -> Job:
    """Wait for the job's end, or for the client's: whoever goes away stops being a reason to draw."""
    waiting = asyncio.create_task(service.wait(job))
    gone = asyncio.create_task(_until_gone(ask.request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else job
    finally:
        ended = waiting.done() and not waiting.cancelled() and waiting.exception() is None
        for task in (waiting, gone):
            task.cancel()
        if not ended:
            _say_goodbye(ask, service, job)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _streamed(ask: Ask, service: ImageService, job: Job, *, detached: bool) -> AsyncIterator[bytes]:
    ended = detached
    try:
        async for part in stream_pictures(service, job):
            yield part
        ended = True
    except WaitingEnded:
        yield error_event(service.refusal(job))
    finally:
        if not ended:
            _say_goodbye(ask, service, job)


def _say_goodbye(ask: Ask, service: ImageService, job: Job) -> None:
    """In a task of its own: what the client's leaving cancelled can wait for nothing more."""
    likely_back_s = RETRY_PAUSE_S if ask.lost_patience() else 0.0
    task = asyncio.get_running_loop().create_task(_leave(service, job, likely_back_s))
    _farewells.add(task)
    task.add_done_callback(_farewells.discard)


async def _leave(service: ImageService, job: Job, likely_back_s: float) -> None:
    try:
        await service.leave(job, likely_back_s=likely_back_s)
    except ImagegenError as error:  # erased meanwhile, or Redis is away: then the job's deadline decides
        log.info("%s is left alone: %s", job.id, error)
