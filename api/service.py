"""What the routes do, without HTTP: resolve a request, submit it as a job, wait for its end."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from api.drain import Drain
from api.live_models import Served
from api.waiter import JobWaiter, WaitingEnded
from config.log_context import log_from_here_with
from config.settings import Settings
from graphs.errors import JobFailed, JobNotCompleted, OperationNotAvailable, ServiceUnavailable, ShuttingDown
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import load_served
from graphs.repository.repository import Route
from graphs.requests.input_images import InputPictures, read_pictures
from graphs.requests.request import GenerationParameters
from graphs.requests.resolve import resolve
from workers.jobs.events import EventReader, JobEvent, JobEvents
from workers.jobs.job import Job, Status
from workers.jobs.observe.metrics import MetricsView
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.observe.queue_view import QueueEstimate, QueueView
from workers.jobs.request_rates import RequestRates
from workers.jobs.store import JobStore, Submission

log = logging.getLogger(__name__)

_WAKE_TIMEOUT_S = 1.0
_PRESENCE_TTL_S = 1.0


class ImageService:
    """Image requests of one API process."""

    def __init__(self, settings: Settings, wake: Callable[[str], None]) -> None:
        """``wake(graph)`` has a worker of the graph take its next job; it blocks, so it runs in a thread."""
        self.settings = settings
        on_disk = load_served(**settings.repository.model_dump())
        self._facts = {name: read_model_facts(graph.models_path) for name, graph in on_disk.graphs.items()}
        self.graph_names = list(on_disk.graphs)
        self.devices = {name: " ".join(graph.device) for name, graph in on_disk.graphs.items()}
        self.served = Served(settings, on_disk, self._facts)
        self.store = JobStore(settings.redis, settings.jobs)
        self.queue = QueueView(settings.redis)
        self.rates = RequestRates(settings.redis)
        self.drain = Drain(settings.http)
        self.metrics = MetricsView(settings.redis)
        self._waiter = JobWaiter(self.store, EventReader(settings.redis), JobEvents(settings.redis))
        self.drain.on_end(self._waiter.end_waiting)
        self._wake = wake
        # A small pool of its own: a dead Redis must not park every thread of the process.
        self._wakers = ThreadPoolExecutor(4, thread_name_prefix="wake")
        # Decoding takes memory as well as time: few at once.
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._workers: tuple[float, list[WorkerPresence]] = (float("-inf"), [])
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Begin to follow the jobs' events."""
        await self._waiter.start()

    async def stop(self) -> None:
        """Let go of threads and connections."""
        await self._waiter.stop()
        await self.store.close()
        await self.queue.close()
        await self.rates.close()
        await self.metrics.close()
        await self.served.close()
        self._wakers.shutdown(wait=False)
        self._decoders.shutdown(wait=False)

    async def generation(self, parameters: GenerationParameters) -> Submission:
        """Resolve a text-to-image request. Raises what resolve() does."""
        route = (await self.served.repository()).route(parameters.model)
        await self._check_available(route, Operation.GENERATION)
        return Submission(resolve(parameters, Operation.GENERATION, route, self._facts[route.graph.name]))

    async def edit(self, parameters: GenerationParameters, image: bytes, mask: bytes | None) -> Submission:
        """Resolve an edit: inpainting with a mask, image to image without. Raises InvalidImage as well."""
        operation = Operation.EDIT if mask is None else Operation.INPAINTING
        route = (await self.served.repository()).route(parameters.model)
        await self._check_available(route, operation)
        pictures = await self._decoded(image, mask)
        facts = self._facts[route.graph.name]
        request = resolve(parameters, operation, route, facts, image_size=pictures.size)
        return Submission(request, image=pictures.image, mask=pictures.mask or b"")

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Submit a resolved request. Returns the job, and whether it is new.

        Raises what the store raises, and ShuttingDown.
        """
        self.drain.check_open()
        job, is_new = await self.store.submit(submission)
        log_from_here_with(job_id=job.id, graph=job.request.graph)
        log.info("%s %s", job.id, "accepted" if is_new else "joined")
        if is_new or job.status is Status.QUEUED:  # a message too many does no harm
            await self._woken(job)
        return job, is_new

    async def wait(self, job: Job, timeout_s: float | None = None) -> Job:
        """Wait for the job's end, at most ``timeout_s`` seconds. Raises ShuttingDown where the process ends first."""
        try:
            return await self._waiter.wait(job, timeout_s)
        except WaitingEnded as error:
            raise self.refusal(job) from error

    def follow(self, job: Job, after: int = 0) -> AsyncIterator[JobEvent | None]:
        """Yield the job's events, and None for a heartbeat. Raises WaitingEnded where the process ends first."""
        return self._waiter.follow(job, after, self.settings.http.heartbeat_s)

    async def pictures(self, job: Job) -> list[bytes]:
        """Return an ended job's encoded pictures. Raises JobFailed, JobNotCompleted or ArtifactExpired."""
        if job.status is Status.FAILED:
            assert job.error is not None  # noqa: S101 - a failed job always says why
            raise JobFailed(job.error.message, code=job.error.code)
        if job.status is Status.CANCELLED:
            raise JobNotCompleted(job.error.message if job.error else "The job was cancelled.", code="job_cancelled")
        if job.status is not Status.COMPLETED:
            raise JobNotCompleted(f"The job is {job.status}; its pictures are not there yet.")
        return await self.store.artifacts(job)

    async def outlook(self, job: Job) -> QueueEstimate:
        """Return the job's place in the queue and about when it will have ended."""
        if job.status.is_final:
            return QueueEstimate(None, None)
        ready = [w for w in await self.workers() if w.ready and w.graph == job.request.graph]
        return await self.queue.estimate(job, len(ready))

    async def workers(self) -> list[WorkerPresence]:
        """Return the live workers, as of at most a second ago."""
        if time.monotonic() - self._workers[0] > _PRESENCE_TTL_S:
            async with self._looking:  # one look for all who ask meanwhile
                if time.monotonic() - self._workers[0] > _PRESENCE_TTL_S:
                    found = await self.store.workers()
                    self._workers = (time.monotonic(), found)
        return self._workers[1]

    async def leave(self, job: Job, *, likely_back_s: float = 0.0) -> None:
        """One client stopped waiting for the job before its end; without any other it is cancelled.

        ``likely_back_s``: a client that only lost its patience asks again within so many seconds.
        """
        left = await self.store.add_waiter(job, -1)
        # It is the server that goes away, not the client: that one comes again, and finds its job.
        if self.drain.is_over:
            return
        if left > 0 or not self.settings.http.cancel_on_disconnect:
            return
        if likely_back_s:
            await asyncio.sleep(likely_back_s)
            if await self.store.add_waiter(job, 0) > 0 or self.drain.is_over:
                return
        cancelled = await self.store.cancel(job)
        if cancelled.status is not Status.COMPLETED:
            log.info("%s is cancelled: its client is gone", job.id)

    def refusal(self, job: Job) -> ShuttingDown:
        """Return what a client is told whose job has not ended when the process does."""
        return self.drain.refusal(
            f"The server is shutting down; {job.id} goes on, and a retry of this request joins it"
        )

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

    async def _woken(self, job: Job) -> None:
        """Wake a worker. It may fail: the job is accepted, and a worker's recovery sees to it."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.run_in_executor(self._wakers, self._wake, job.request.graph), _WAKE_TIMEOUT_S)
        except (ServiceUnavailable, TimeoutError) as error:
            log.warning("%s: its message will be sent again: %s", job.id, error)
