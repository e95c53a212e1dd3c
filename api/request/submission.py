"""A client's request for images: read from HTTP, and submitted as a job."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request

from api.request.bodies import SentBody, read_edit_body, read_generation_body, read_generation_or_edit_body
from api.request.foreign_parameters import ignored_label
from api.request.headers import RETRY_PAUSE_S, read_headers
from api.request.schemas import ImageBody
from api.request.validation import unknown_parameter
from api.service import ImageService
from graphs.api_keys import Owner, Priority
from graphs.errors import ImagegenError, InvalidRequest
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions


class ImageRequest:
    """A client's request for images: its body, the uploaded images of an edit, its headers, and its owner."""

    def __init__(self, http: Request, owner: Owner, sent: SentBody) -> None:
        """``http`` is the request as Starlette has it.

        Raises InvalidRequest for a header that cannot be used, and for fields without effect where the settings refuse
        them.
        """
        self.body = _with_model(sent.body, http)
        self.headers = read_headers(http, http.app.state.settings.http)
        self._http = http
        self._owner = owner
        self._images = sent.images
        self._warnings = [f"{name[:100]} has no effect here and was left out." for name in sent.ignored]
        self._began = time.monotonic()
        self._judge_ignored(sent.ignored)

    async def submit(self, service: ImageService, *, detached: bool, name: str | None = None) -> tuple[Job, bool]:
        """Submit the request as a job. Returns the job, and whether it is new.

        ``name`` is the id that the client chose, if any. ``detached``: the client does not wait on its connection, so
        the job starts however late it is. Raises what ``JobSubmitter.submit`` raises; an InvalidRequest names the
        parameter as the client sent it.
        """
        timeout_s = None if detached else self.headers.timeout_s
        try:
            job = await service.submit(
                self.body.parameters(),
                self._images,
                self._options(),
                idempotency=self.headers.idempotency(self._digest()),
                name=name,
                warnings=self._warnings,
                start_by=None if timeout_s is None else time.time() + timeout_s + RETRY_PAUSE_S,
            )
        except ImagegenError as error:
            await self._count_rejected(service)
            if isinstance(error, InvalidRequest):
                error.param = self.body.name_sent(error.param)
            raise
        # The job has its images now, and the request may wait for it for a long time.
        self._images = None
        self._http.state.body.release()
        return job

    async def _count_rejected(self, service: ImageService) -> None:
        graph = await service.graph_of(self.body.model)
        if graph is not None:
            self._http.app.state.http_metrics.rejected.labels(graph).inc()

    async def disconnected(self) -> None:
        """Return once the client has disconnected. The body must have been read."""
        while (await self._http.receive())["type"] != "http.disconnect":
            pass

    def grace_s(self) -> float:
        """Return for how many seconds a job is kept after its client disconnected.

        A client that has waited for about as long as it waits at most has only timed out, and sends the request again.
        """
        from_s = self.headers.times_out_from_s
        timed_out = from_s is not None and time.monotonic() - self._began >= from_s
        return RETRY_PAUSE_S if timed_out else 0.0

    def _judge_ignored(self, names: Sequence[str]) -> None:
        if names and self._http.app.state.settings.http.strict_parameters:
            raise unknown_parameter(names[0], list(ImageBody.model_fields))
        for name in names:
            self._http.app.state.http_metrics.ignored_parameters.labels(ignored_label(name)).inc()

    def _options(self) -> JobOptions:
        after_s = self.headers.cancel_after_s
        return JobOptions(
            owner=self._owner.id,
            priority=self._owner.capped(self.body.priority or Priority.NORMAL),
            previews=self.body.partial_images or 0,
            deadline=None if after_s is None else time.time() + after_s,
            metadata=self.body.metadata,
            webhook=self.body.webhook,
            request_id=self._http.state.request_id,
            traceparent=self._http.state.traceparent,
        )

    def _digest(self) -> str:
        """Return a digest of the parsed body. Raw multipart bodies of equal requests differ in their boundaries."""
        digest = hashlib.sha256(self.body.model_dump_json(exclude_none=True).encode())
        for image in (self._images.image, self._images.mask) if self._images else ():
            digest.update(hashlib.sha256(image or b"").digest())
        return digest.hexdigest()


def _with_model(body: ImageBody, http: Request) -> ImageBody:
    """Return the body with the model that the path names (client_paths.py), unless the body names one."""
    deployment = http.scope.get("deployment")
    return body if body.model or not deployment else body.model_copy(update={"model": deployment})


async def read_generation(http: Request, owner: Owner) -> ImageRequest:
    """Read the request of a generation. Raises InvalidRequest."""
    return ImageRequest(http, owner, await read_generation_body(http))


async def read_edit(http: Request, owner: Owner) -> ImageRequest:
    """Read the request of an edit. Raises InvalidRequest."""
    return ImageRequest(http, owner, await read_edit_body(http))


async def read_variation(http: Request, owner: Owner) -> ImageRequest:
    """Read the request of a variation: an edit that may lack a prompt. Raises InvalidRequest."""
    sent = await read_edit_body(http)
    body = sent.body.model_copy(update={"prompt": sent.body.prompt or ""})
    return ImageRequest(http, owner, replace(sent, body=body))


async def read_generation_or_edit(http: Request, owner: Owner) -> ImageRequest:
    """Read the request of a job: an edit where the body holds an image, else a generation. Raises InvalidRequest."""
    return ImageRequest(http, owner, await read_generation_or_edit_body(http))
