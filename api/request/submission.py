"""From a request in HTTP to a submitted job: body and headers together."""

import hashlib
import time
from dataclasses import replace

from starlette.requests import Request

from api.request.bodies import EditRequest, brings_images, read_edit, read_json
from api.request.headers import RETRY_PAUSE_S, Wishes, read_wishes
from api.request.schemas import ImageBody
from api.request.webhooks import check_webhook
from api.service import ImageService
from graphs.api_keys import Owner, Priority
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.store import Submission


class Ask:
    """A client's request: its body, what its headers wish, and whose it is."""

    def __init__(self, request: Request, owner: Owner, body: ImageBody, edit: EditRequest | None = None) -> None:
        self.request, self.owner, self.body, self.edit = request, owner, body, edit
        self.wishes: Wishes = read_wishes(request)
        self.began = time.monotonic()

    async def submit(self, service: ImageService, *, detached: bool, job_id: str | None = None) -> tuple[Job, bool]:
        """Submit it. ``detached``: nobody waits on the connection. Returns the job, and whether it is new."""
        check_webhook(self.body.webhook, service.settings.webhooks)
        with self.body.naming_parameters_as_sent():
            submission = await self._resolved(service)
        patience = self.wishes.patience_s
        return await service.submit(
            replace(
                submission,
                options=self._options(),
                job_id=job_id,
                idempotency=self.wishes.once(self._digest()),
                start_by=None if detached or patience is None else time.time() + patience + RETRY_PAUSE_S,
            )
        )

    def lost_patience(self) -> bool:
        """Tell whether the client has waited as long as it said it would: then it asks again, soon."""
        patience = self.wishes.patience_s
        return patience is not None and time.monotonic() - self.began >= 0.9 * patience

    async def _resolved(self, service: ImageService) -> Submission:
        parameters = self.body.parameters()
        if self.edit is None:
            return await service.generation(parameters)
        return await service.edit(parameters, self.edit.image, self.edit.mask)

    def _options(self) -> JobOptions:
        after = self.wishes.cancel_after_s
        return JobOptions(
            owner=self.owner.id,
            priority=self.owner.capped(self.body.priority or Priority.NORMAL),
            previews=self.body.partial_images or 0,
            deadline=None if after is None else time.time() + after,
            metadata=self.body.metadata,
            webhook=self.body.webhook,
            request_id=self.request.state.request_id,
        )

    def _digest(self) -> str:
        """Of everything that the client sent; multipart bodies differ in their boundaries only."""
        digest = hashlib.sha256(self.body.model_dump_json(exclude_none=True).encode())
        for picture in (self.edit.image, self.edit.mask) if self.edit else ():
            digest.update(hashlib.sha256(picture or b"").digest())
        return digest.hexdigest()


async def ask_for_generation(request: Request, owner: Owner) -> Ask:
    """Read a generation's body. Raises InvalidRequest."""
    return Ask(request, owner, await read_json(request, ImageBody))


async def ask_for_edit(request: Request, owner: Owner) -> Ask:
    """Read an edit's body. Raises InvalidRequest."""
    edit = await read_edit(request)
    return Ask(request, owner, edit.body, edit)


async def ask_for_variation(request: Request, owner: Owner) -> Ask:
    """Read a variation's body: an edit without words. Raises InvalidRequest."""
    edit = await read_edit(request)
    body = edit.body.model_copy(update={"prompt": edit.body.prompt or ""})
    return Ask(request, owner, body, replace(edit, body=body))


async def ask_for_either(request: Request, owner: Owner) -> Ask:
    """Read a job's body: an edit where it brings a picture, else a generation. Raises InvalidRequest."""
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
    if is_form or brings_images(await request.body()):
        return await ask_for_edit(request, owner)
    return await ask_for_generation(request, owner)
