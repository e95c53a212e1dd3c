"""What makes a job of a client's request: the request is resolved and stored, and a worker is woken."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from api.decoding_turns import DecodingTurns
from api.drain import ApiDrain
from api.live_models import LiveModels
from api.live_workers import LiveWorkers
from api.memory_admission import check_memory
from config.log_context import log_from_here_with
from config.settings import Settings, WebhookSettings
from graphs.errors import AdaptersChanged, InvalidRequest
from graphs.families.family import Operation
from graphs.reload.served_models import ServedModels
from graphs.requests.image_fit import ImageFit
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import EncodedInputs, Fitting, encode_inputs
from graphs.requests.request import GenerationParameters, ResolvedRequest
from graphs.requests.resolve import resolve
from graphs.resolution import Resolution
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions, Webhook
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis.keys import queue_name
from workers.jobs.store import Idempotency, JobStore, Submission
from workers.webhooks.url_check import UrlRefused, check_url

log = logging.getLogger(__name__)

# How often a request is resolved anew because added adapters changed meanwhile.
_MOST_TRIES = 5


@dataclass(frozen=True)
class UploadedImages:
    """The encoded image of an edit and its mask, as the client sent them."""

    image: bytes
    mask: bytes | None


@dataclass(frozen=True)
class _Details:
    """What goes with a request beside its parameters and options."""

    idempotency: Idempotency
    name: str | None
    warnings: tuple[str, ...]
    start_by: float | None


class JobSubmitter:
    """Submits the requests of clients as jobs."""

    def __init__(
        self,
        settings: Settings,
        drain: ApiDrain,
        message: Callable[[str], str],
        models: LiveModels,
        workers: LiveWorkers,
        store: JobStore,
        turns: DecodingTurns,
    ) -> None:
        """``message(queue)`` makes the message that wakes a worker of a queue."""
        self._settings = settings
        self._drain = drain
        self._message = message
        self._models = models
        self._workers = workers
        self._store = store
        self._limits = ImageLimits(
            settings.http.max_image_pixels, settings.images.max_side_ratio, settings.images.max_decoding_bytes
        )
        self._turns = turns

    async def submit(
        self,
        parameters: GenerationParameters,
        images: UploadedImages | None,
        options: JobOptions,
        *,
        idempotency: Idempotency,
        name: str | None = None,
        warnings: Sequence[str] = (),
        start_by: float | None = None,
    ) -> tuple[Job, bool]:
        """Resolve a request and submit it as a job, which wakes a worker. Returns the job, and whether it is new.

        ``images``: those of an edit, which is inpainting with a mask or a hole and image to image without.
        ``start_by`` is in unix seconds: a job that is still queued then is not run. ``warnings`` go with the job's
        answer, before those of ``resolve``. Raises InvalidRequest and its subclasses, what ``JobStore.submit`` raises,
        and ShuttingDown.
        """
        check_webhook(options.webhook, self._settings.webhooks)
        details = _Details(idempotency, name, tuple(warnings), start_by)
        served = self._models.latest if self._models.adapters_version else await self._models.served()
        for _ in range(_MOST_TRIES):
            version = self._models.adapters_version
            try:
                return await self._submit(served, version, parameters, images, options, details)
            except (InvalidRequest, AdaptersChanged):
                former = served
                served = await self._models.served()
                if served is former:
                    raise
        raise AdaptersChanged

    async def _submit(
        self,
        served: ServedModels,
        adapters_version: str,
        parameters: GenerationParameters,
        images: UploadedImages | None,
        options: JobOptions,
        details: _Details,
    ) -> tuple[Job, bool]:
        """Submit a request to what was served when this was called: other models may be adopted meanwhile."""
        repository = served.repository
        route = repository.route(parameters.model)
        graph = route.graph
        options_of_model = repository.options_of(graph.name).values
        operation = _operation(images)
        facts = served.facts[graph.name]
        ready = await self._workers.ready(graph.name)
        reads_holes = operation is Operation.EDIT and _repaints(ready)
        if not reads_holes:
            await self._workers.check_available(graph.name, operation)

        def resolved(kind: Operation, size: Resolution | None, **seen: Any) -> ResolvedRequest:
            request = resolve(parameters, kind, route, facts, size, options_of_model, **seen)
            check_memory(request, graph, facts, ready)
            return request

        def fitting(size: Resolution) -> tuple[Resolution, ImageFit]:
            try:
                request = resolved(operation, size)
            except InvalidRequest:
                if not reads_holes:
                    raise
                request = resolved(Operation.INPAINTING, size)  # the image may have a hole
            return Resolution(request.width, request.height), request.image_fit

        async with self._decoded(images, options.owner, fitting, reads_holes=reads_holes) as inputs:
            if inputs is None:
                request = resolved(operation, None)
            else:
                kind = Operation.EDIT if inputs.mask is None else Operation.INPAINTING
                if reads_holes:
                    await self._workers.check_available(graph.name, kind)
                request = resolved(kind, inputs.size, is_flattened=inputs.is_flattened, mask_size=inputs.mask_size)
            request = request.model_copy(update={"warnings": (*details.warnings, *request.warnings)})
            self._drain.check_open()
            digest = served.digest(graph.name)
            submission = Submission(
                request,
                options,
                image=b"" if inputs is None else inputs.image,
                mask=b"" if inputs is None else inputs.mask or b"",
                name=details.name,
                idempotency=details.idempotency,
                start_by=details.start_by,
                model_digest=digest,
                adapters_version=adapters_version,
            )
            queue = queue_name(graph.name, "" if any(not worker.digest for worker in ready) else digest)
            job, is_new = await self._store.submit(submission, queue, self._message(queue))
        log_from_here_with(job_id=job.id, graph=job.request.graph)
        log.info("%s %s", job.id, "accepted" if is_new else "joined")
        return job, is_new

    @asynccontextmanager
    async def _decoded(
        self, images: UploadedImages | None, owner: str, fitting: Fitting, *, reads_holes: bool
    ) -> AsyncIterator[EncodedInputs | None]:
        """Decode images in the owner's turn; their memory counts until the block ends.

        Nothing is decoded for a request that is refused by the images' headers or by ``fitting``.
        """
        if images is None:
            yield None
            return
        headers = await asyncio.to_thread(read_headers, images.image, images.mask, self._limits)
        async with self._turns.turn(owner, headers.decoding_bytes) as turn:
            encoded: EncodedInputs = await turn.run(
                lambda: encode_inputs(headers, fitting, reads_holes=reads_holes), _size_bytes
            )
            yield encoded


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


def _size_bytes(inputs: EncodedInputs) -> int:
    return len(inputs.image) + len(inputs.mask or b"")


def _repaints(ready: Sequence[WorkerPresence]) -> bool:
    """Return whether one of a graph's ready workers inpaints. Without one, the job waits for one that may."""
    return not ready or any(worker.can(Operation.INPAINTING) for worker in ready)


def _operation(images: UploadedImages | None) -> Operation:
    if images is None:
        return Operation.GENERATION
    return Operation.EDIT if images.mask is None else Operation.INPAINTING
