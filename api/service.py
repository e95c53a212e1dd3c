"""What the routes do, without HTTP: resolve a request, submit it as a job, wait for its end."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from api.waiter import JobWaiter
from config.settings import Settings
from graphs.bundled import load_served
from graphs.errors import JobFailed, OperationNotAvailable, ServiceUnavailable
from graphs.input_images import InputPictures, read_pictures
from graphs.model_facts import Operation, read_model_facts
from graphs.repository import Repository, Route
from graphs.request import GenerationParameters
from graphs.resolve import resolve
from workers.jobs.events import EventReader
from workers.jobs.job import Job, Status
from workers.jobs.presence import WorkerPresence
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 5.0
_PRESENCE_TTL_S = 1.0


class ImageService:
    """Image requests of one API process."""

    def __init__(self, settings: Settings, send: Callable[[str, str], None]) -> None:
        """``send(graph, job_id)`` hands a job's message to the broker; it blocks, so it runs in a thread."""
        self.settings = settings
        self.repository: Repository = load_served(**settings.repository.model_dump())
        self._facts = {name: read_model_facts(graph.models_path) for name, graph in self.repository.graphs.items()}
        self.store = JobStore(settings.redis, settings.jobs)
        self._waiter = JobWaiter(self.store, EventReader(settings.redis))
        self._send = send
        # A small pool of its own: a dead Redis must not park every thread of the process.
        self._senders = ThreadPoolExecutor(4, thread_name_prefix="send")
        # Decoding takes memory as well as time: few at once.
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._workers: tuple[float, list[WorkerPresence]] = (float("-inf"), [])

    async def start(self) -> None:
        """Begin to follow the jobs' events."""
        await self._waiter.start()

    async def stop(self) -> None:
        """Let go of threads and connections."""
        await self._waiter.stop()
        await self.store.close()
        self._senders.shutdown(wait=False)
        self._decoders.shutdown(wait=False)

    async def generate(self, parameters: GenerationParameters) -> Job:
        """Submit a text-to-image request. Raises what resolve() and the store raise."""
        route = self.repository.route(parameters.model)
        await self._check_available(route, Operation.GENERATION)
        request = resolve(parameters, Operation.GENERATION, route, self._facts[route.graph.name])
        return await self._sent(await self.store.submit(request))

    async def edit(self, parameters: GenerationParameters, image: bytes, mask: bytes | None) -> Job:
        """Submit an edit: inpainting with a mask, image to image without. Raises InvalidImage as well."""
        operation = Operation.EDIT if mask is None else Operation.INPAINTING
        route = self.repository.route(parameters.model)
        await self._check_available(route, operation)
        pictures = await self._decoded(image, mask)
        facts = self._facts[route.graph.name]
        request = resolve(parameters, operation, route, facts, image_size=pictures.size)
        return await self._sent(await self.store.submit(request, pictures.image, pictures.mask or b""))

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Wait for the job's end, at most ``timeout_s`` seconds."""
        return await self._waiter.wait(job, timeout_s)

    async def pictures(self, job: Job) -> list[bytes]:
        """Return an ended job's encoded pictures. Raises JobFailed or ArtifactExpired."""
        if job.status is Status.FAILED:
            assert job.error is not None  # noqa: S101 - a failed job always says why
            raise JobFailed(job.error.message, code=job.error.code)
        if job.status is Status.CANCELLED:
            raise JobFailed("The job was cancelled.", code="job_cancelled")
        if job.status is not Status.COMPLETED:
            raise JobFailed(f"The job is {job.status}; its pictures are not there yet.", code="job_not_completed")
        return await self.store.artifacts(job)

    async def workers(self) -> list[WorkerPresence]:
        """Return the live workers, as of at most a second ago."""
        now = asyncio.get_running_loop().time()
        if now - self._workers[0] > _PRESENCE_TTL_S:
            self._workers = (now, await self.store.workers())
        return self._workers[1]

    async def _check_available(self, route: Route, operation: Operation) -> None:
        """Refuse what no loaded worker of the graph has a pipeline for; without any worker the job waits for one."""
        loaded = [worker for worker in await self.workers() if worker.graph == route.graph.name and worker.ready]
        if loaded and not any(worker.can(operation) for worker in loaded):
            raise OperationNotAvailable(
                f"{operation.value.capitalize()} is not available for this model ({route.graph.name}).", param="model"
            )

    async def _decoded(self, image: bytes, mask: bytes | None) -> InputPictures:
        limit = self.settings.http.max_image_pixels
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, read_pictures, image, mask, limit)

    async def _sent(self, job: Job) -> Job:
        """Send the job's message. It may fail: the job is accepted, and a worker's recovery sends it again."""
        loop = asyncio.get_running_loop()
        sending = loop.run_in_executor(self._senders, self._send, job.request.graph, job.id)
        try:
            await asyncio.wait_for(sending, _SEND_TIMEOUT_S)
        except (ServiceUnavailable, TimeoutError) as error:
            log.warning("%s: its message will be sent again: %s", job.id, error)
        return job
