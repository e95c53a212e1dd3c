"""What makes a job of a client's request: the request is resolved and stored, and a worker is woken."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api.drain import ApiDrain
from api.live_models import LiveModels
from api.live_workers import LiveWorkers
from config.log_context import log_from_here_with
from config.settings import Settings, WebhookSettings
from graphs.errors import InvalidRequest, ServiceUnavailable
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts
from graphs.requests.input_images import EncodedInputs, read_input_images
from graphs.requests.request import GenerationParameters
from graphs.requests.resolve import resolve
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions, Webhook
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, JobStore, Submission
from workers.webhooks.url_check import UrlRefused, check_url

log = logging.getLogger(__name__)

_WAKE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class UploadedImages:
    """The encoded image of an edit and its mask, as the client sent them."""

    image: bytes
    mask: bytes | None


class JobSubmitter:
    """Submits the requests of clients as jobs."""

    def __init__(
        self,
        settings: Settings,
        drain: ApiDrain,
        wake: Callable[[str], None],
        facts: Mapping[str, ModelFacts],
        models: LiveModels,
        workers: LiveWorkers,
        store: JobStore,
    ) -> None:
        """``wake(graph)`` makes a worker of the graph take its next job. It blocks, so it runs in a thread.

        ``facts`` are those of the models, by the name of the graph.
        """
        self._settings = settings
        self._drain = drain
        self._wake = wake
        self._facts = facts
        self._models = models
        self._workers = workers
        self._store = store
        # Pools of their own, so that a Redis that does not answer cannot occupy every thread of the process, and
        # so that few images are decoded at the same time: decoding takes memory as well as time.
        self._wakers = ThreadPoolExecutor(4, thread_name_prefix="wake")
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")

    def close(self) -> None:
        """Stop the threads."""
        self._wakers.shutdown(wait=False)
        self._decoders.shutdown(wait=False)

    async def submit(
        self,
        parameters: GenerationParameters,
        images: UploadedImages | None,
        options: JobOptions,
        *,
        idempotency: Idempotency,
        name: str | None = None,
        start_by: float | None = None,
    ) -> tuple[Job, bool]:
        """Resolve a request, submit it as a job and wake a worker. Returns the job, and whether it is new.

        ``images``: those of an edit, which is inpainting with a mask and image to image without. ``start_by`` is in
        unix seconds: a job that is still queued then is not run. Raises InvalidRequest and its subclasses, what
        ``JobStore.submit`` raises, and ShuttingDown.
        """
        check_webhook(options.webhook, self._settings.webhooks)
        route = (await self._models.repository()).route(parameters.model)
        operation = _operation(images)
        await self._workers.check_available(route.graph.name, operation)
        inputs = None if images is None else await self._decode(images)
        facts = self._facts[route.graph.name]
        request = resolve(parameters, operation, route, facts, image_size=None if inputs is None else inputs.size)
        self._drain.check_open()
        submission = Submission(
            request,
            options,
            image=b"" if inputs is None else inputs.image,
            mask=b"" if inputs is None else inputs.mask or b"",
            name=name,
            idempotency=idempotency,
            start_by=start_by,
        )
        job, is_new = await self._store.submit(submission)
        log_from_here_with(job_id=job.id, graph=job.request.graph)
        log.info("%s %s", job.id, "accepted" if is_new else "joined")
        if is_new or job.status is Status.QUEUED:  # a second message for the same job is harmless
            await self._wake_worker(job)
        return job, is_new

    async def _decode(self, images: UploadedImages) -> EncodedInputs:
        limit = self._settings.http.max_image_pixels
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, read_input_images, images.image, images.mask, limit)

    async def _wake_worker(self, job: Job) -> None:
        """Wake a worker, unless enough messages wait: so many jobs that are cancelled at once leave few messages.

        A failure is not an error: the job is stored, and recovery sends the message again.
        """
        loop = asyncio.get_running_loop()
        try:
            if not await self._store.needs_message(job.request.graph):
                return
            await asyncio.wait_for(loop.run_in_executor(self._wakers, self._wake, job.request.graph), _WAKE_TIMEOUT_S)
        except (ServiceUnavailable, TimeoutError) as error:
            log.warning("%s: its message will be sent again: %s", job.id, error)


def check_webhook(webhook: Webhook | None, settings: WebhookSettings) -> None:
    """Raise InvalidRequest where this server sends no webhooks, or none to that address."""
    if webhook is None:
        return
    if not settings.secrets:
        raise InvalidRequest(
            "This server sends no webhooks: it has nothing to sign them with (IMAGEGEN_WEBHOOKS__SECRET).",
            param="webhook",
        )
    try:
        check_url(webhook.url, allow_private=settings.allow_private)
    except UrlRefused as error:
        raise InvalidRequest(str(error), param="webhook.url") from error


def _operation(images: UploadedImages | None) -> Operation:
    if images is None:
        return Operation.GENERATION
    return Operation.EDIT if images.mask is None else Operation.INPAINTING
