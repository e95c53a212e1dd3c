"""What the routes do with jobs, without HTTP: submit them, wait for their end, read their artifacts, cancel them."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence

from api.decoding_turns import DecodingTurns
from api.drain import ApiDrain
from api.job_submitter import JobSubmitter
from api.live_models import LiveModels
from api.live_workers import LiveWorkers
from api.model_reload import ModelReload
from api.queue_operator import QueueOperator
from api.waiting.abandoned_jobs import AbandonedJobs
from api.waiting.owner_feed import OwnerFeed, Passage
from api.waiting.waiter import Client, JobWaiter, WaitingEnded, first_of
from config.environment import typed_model_options
from config.http_settings import ResponseFormat
from config.settings import Settings
from graphs.api_keys import ANYONE, Owner
from graphs.errors import (
    InvalidRequest,
    JobFailed,
    JobNotCompleted,
    ServiceUnavailable,
    ShuttingDown,
)
from graphs.reload.served_models import Source
from graphs.repository.model_aliases import is_answered_with_url
from workers.jobs.events import JobEvent
from workers.jobs.job import Job
from workers.jobs.observe.metrics_view import MetricsSnapshot, MetricsView
from workers.jobs.observe.presence import load_failures
from workers.jobs.observe.queue_view import Page, QueueEstimate, QueueView
from workers.jobs.queue_bounds import queue_bounds
from workers.jobs.request_rates import RequestRates
from workers.jobs.status import Status
from workers.jobs.store import JobStore

log = logging.getLogger(__name__)

# The code of the error of a readiness probe before the workers are ready.
NOT_READY = "not_ready"


class ImageService:
    """The jobs of clients, as one API process serves them."""

    def __init__(self, settings: Settings, drain: ApiDrain, message: Callable[[str], str]) -> None:
        """``message(queue)`` makes the message that wakes a worker of a queue.

        Raises ConfigurationError when there is no graph that can be served.
        """
        self._settings = settings
        self._drain = drain
        self._missing: list[str] = []  # graphs without a ready worker, as the last probe found them
        source = Source(**settings.repository.model_dump(), typed=typed_model_options(settings))
        on_disk = source.read()
        for name, sentence in on_disk.repository.failed.items():
            log.error("the model %r cannot be served; the others are: %s", name, sentence)
        self.models = LiveModels(settings, on_disk)
        self._store = JobStore(settings.redis, settings.jobs)
        self._workers = LiveWorkers(self._store, self.digest)
        self.reload = ModelReload(settings, source, self.models, self._workers)
        self.turns = DecodingTurns(
            max_bytes=settings.images.max_decoding_bytes, max_waiting=settings.jobs.max_queued_per_key
        )
        self.submit = JobSubmitter(settings, drain, message, self.models, self._workers, self._store, self.turns).submit
        self._queue = QueueView(settings.redis, settings.jobs)
        self.operator = QueueOperator(settings, self.models, self._store, self._queue, message)
        self.queue_bounds = queue_bounds(settings.jobs, ANYONE.id)
        self._rates = RequestRates(settings.redis)
        self._metrics = MetricsView(settings.redis)
        self._waiter = JobWaiter(self._store, settings.redis)
        self._feed = OwnerFeed(self._waiter, settings.redis)
        self._abandoned = AbandonedJobs(self._store, drain, cancels=settings.http.cancel_on_disconnect)
        drain.on_end(self._waiter.end_waiting)

    async def start(self) -> None:
        """Begin to follow the events of jobs, and serve what the folder of adapters contains."""
        await self.models.start()
        await self.reload.start()
        await self._waiter.start()

    async def stop(self) -> None:
        """Close connections and stop threads."""
        await self._waiter.stop()
        await self._feed.close()
        await self.reload.stop()
        await self._store.close()
        await self._queue.close()
        await self.operator.close()
        await self._rates.close()
        await self._metrics.close()
        await self.models.close()
        self.turns.close()

    @property
    def devices(self) -> dict[str, str]:
        """The devices of the graphs that are served now, by name."""
        graphs = self.models.on_disk.repository.graphs
        return {name: " ".join(graph.device) for name, graph in graphs.items()}

    def digest(self, graph: str) -> str:
        """Return the digest of a graph's model, for which requests are resolved here; '' where it is not known."""
        return self.models.on_disk.digest(graph)

    async def find(self, name: str, owner_id: str) -> Job:
        """Return the owner's job with this name or id. Raises JobNotFound, also for another owner's job."""
        return await self._store.find(name, owner_id)

    async def job(self, job_id: str) -> Job:
        """Return the job with this id, of any owner. Raises JobNotFound."""
        return await self._store.get(job_id, None)

    async def jobs(
        self, owner_id: str, *, after: str | None, limit: int, newest_first: bool, status: str | None
    ) -> Page:
        """Return the owner's jobs that follow the job with the id ``after``, at most ``limit``. Raises JobNotFound."""
        edge = await self._store.find(after, owner_id) if after else None
        return await self._queue.page(owner_id, after=edge, limit=limit, newest_first=newest_first, status=status)

    async def response_format(self, job: Job, model: str | None, asked: ResponseFormat | None) -> ResponseFormat:
        """Return how a job's images are answered to a request that named this model and asked for this format."""
        repository = self.models.latest.repository  # as it was when the job was submitted, or later
        chosen = asked or repository.options_of(job.request.graph).values.default_response_format
        if chosen is not None or not model:
            return chosen or "b64_json"
        is_alias = repository.is_alias(model)
        return "url" if is_alias and is_answered_with_url(model) else "b64_json"

    async def cancel(self, job: Job) -> Job:
        """Cancel a job: at once while it is queued, at its next step while it runs. Returns it as it is then."""
        return await self._store.cancel(job)

    async def erase(self, job: Job) -> None:
        """Cancel a job and delete its record and its artifacts."""
        await self._store.erase(job)

    async def artifacts(self, job: Job) -> list[bytes]:
        """Return an ended job's encoded images. Raises JobFailed, JobNotCompleted or ArtifactExpired."""
        if job.status is Status.FAILED:
            assert job.error is not None  # noqa: S101 - a failed job always has an error
            raise JobFailed(job.error.message, code=job.error.code)
        if job.status is Status.CANCELLED:
            raise JobNotCompleted(job.error.message if job.error else "The job was cancelled.", code="job_cancelled")
        if job.status is not Status.COMPLETED:
            raise JobNotCompleted(f"The job is {job.status}; its images are not there yet.")
        return await self._store.artifacts(job)

    async def estimate(self, job: Job) -> QueueEstimate:
        """Return the job's place in the queue and the estimated time to its end."""
        return (await self.estimates([job]))[0]

    async def estimates(self, jobs: Sequence[Job]) -> list[QueueEstimate]:
        """Return the places of the jobs and the estimated times to their ends; each queue is read once."""
        graphs = {job.request.graph for job in jobs if not job.status.is_final}
        return await self._queue.estimates(jobs, {graph: len(await self._workers.ready(graph)) for graph in graphs})

    async def wait_while_connected(self, job: Job, client: Client) -> Job:
        """Return the job once it has ended, or as it is where the client disconnects first.

        The client of a job that has not ended abandons it: without any other client, the job is cancelled.
        Raises ShuttingDown where the process ends first, and JobNotFound.
        """
        ended: Job | None = None
        try:
            ended = await first_of(self._wait(job), client.disconnected())
        finally:
            if ended is None:
                self.abandon_later(job, client)
        return ended or job

    async def wait_at_most(self, job: Job, seconds: float) -> Job:
        """Return the job once it has ended, or as it is after so many seconds, or where the process ends first."""
        try:
            return await self._wait(job, seconds)
        except ShuttingDown:  # the job itself is an answer: any other process can be asked for its end
            return await self._store.get(job.id, None)

    def follow(self, job: Job, after: int = 0) -> AsyncIterator[JobEvent | None]:
        """Yield the job's events, and None for a heartbeat. Raises WaitingEnded where the process ends first."""
        return self._waiter.follow(job, after, self._settings.http.heartbeat_s)

    def follow_owner(self, owner_id: str, after: str, timeout_s: float | None) -> AsyncIterator[Passage]:
        """Yield what happens to the owner's jobs after an entry; see ``OwnerFeed.follow``. Raises WaitingEnded."""
        return self._feed.follow(owner_id, after, self._settings.http.heartbeat_s, timeout_s)

    def abandon_later(self, job: Job, client: Client) -> None:
        """Note that this client no longer waits for the job; without any other client, the job is cancelled."""
        self._abandoned.abandon_later(job, client.grace_s())

    def refusal(self, job: Job) -> ShuttingDown:
        """Return the error for a client whose job has not ended when the process does."""
        return self._drain.refusal(
            f"The server is shutting down; {job.name} goes on, and a retry of this request joins it"
        )

    async def count_request(self, owner: Owner) -> None:
        """Count a request of the owner. Raises RateLimited when it is one too many, and ServiceUnavailable."""
        if rate := owner.requests_per_minute or self._settings.http.requests_per_minute:
            await self._rates.count(owner.id, rate)

    async def check_ready(self) -> None:
        """Raise ServiceUnavailable where a graph has no ready worker yet or none can load any graph.

        Raises it also where Redis is away or this process shuts down.
        """
        self._drain.check_open()
        await self._store.check_layout()
        loaded, failures = await self._workers.loading()
        missing = [name for name in self.devices if name not in loaded and name not in failures]
        if missing != self._missing:
            self._missing = missing
            if missing:
                log.info("graphs without a worker that has loaded them: %s", ", ".join(missing))
            else:
                log.info("no graph waits for a worker to load it any more")
        if missing:
            raise ServiceUnavailable(f"No worker has loaded {', '.join(missing)} yet.", code=NOT_READY)
        if self.devices and not loaded & set(self.devices):
            message = f"No worker can load {', '.join(self.devices)}."
            raise ServiceUnavailable(message, reason=" ".join(failures.values()), code=NOT_READY)

    async def graph_of(self, model: str | None) -> str | None:
        """Return the name of the graph that a request for this model is for, None for an unknown name."""
        try:
            return (await self.models.repository()).route(model).graph.name
        except (InvalidRequest, ServiceUnavailable):  # ModelNotFound is an InvalidRequest
            return None

    async def check_model_ready(self, graph: str) -> None:
        """Raise ServiceUnavailable where no worker has loaded this graph, or this process shuts down."""
        self._drain.check_open()
        if not await self._workers.ready(graph):
            raise ServiceUnavailable(f"No worker has loaded {graph}.", code=NOT_READY)

    async def failed(self) -> dict[str, str]:
        """Return why configured models are not served, by name: for administrators, since it names files.

        They cannot be read, or no worker can load them; the latter is not known while Redis is away.
        """
        try:
            _, failures = await self._workers.loading()
            left_out = self.reload.left_out(await self._workers.recent())
        except ServiceUnavailable:
            failures = {}
            left_out = self.reload.left_out([])
        of_workers = {name: sentence for name, sentence in failures.items() if name in self.devices}
        return dict(sorted({**self._failed, **of_workers, **left_out}.items()))

    @property
    def _failed(self) -> dict[str, str]:
        """Why configured models cannot be read, by name: for administrators and the log, since it names files."""
        return self.models.on_disk.repository.failed

    async def other_digests(self) -> dict[str, list[str]]:
        """Return the digests of other models that live workers have under the names served here, by graph.

        While Redis is away, none is known.
        """
        try:
            return await self._workers.other_digests()
        except ServiceUnavailable:
            return {}

    def failed_count(self, snapshot: MetricsSnapshot | None) -> int:
        """Return how many configured models are not served, as of a snapshot (None: Redis did not answer)."""
        failures = load_failures(self._workers.own(snapshot.workers)) if snapshot else {}
        left_out = self.reload.left_out(snapshot.workers if snapshot else [])
        return len(self._failed) + sum(name in self.devices for name in failures) + len(left_out)

    async def queue_figures(self) -> MetricsSnapshot:
        """Return the figures of the queue and of the workers, for the metrics. Raises ServiceUnavailable."""
        return await self._metrics.read(list(self.devices))

    async def signing_key(self) -> str:
        """Return the key with which all API processes sign URLs now. Raises ServiceUnavailable."""
        return await self._store.signing_key()

    async def last_signing_key(self) -> str:
        """Return that key as it was when a job was last read. Raises ServiceUnavailable."""
        return await self._store.last_signing_key()

    @property
    def url_ttl_s(self) -> int:
        """For how many seconds a signed URL is valid."""
        return self._settings.http.url_ttl_s

    async def _wait(self, job: Job, timeout_s: float | None = None) -> Job:
        try:
            return await self._waiter.wait(job, timeout_s)
        except WaitingEnded as error:
            raise self.refusal(job) from error
