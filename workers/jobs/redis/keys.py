"""All Redis keys of one service, below its prefix, and the version of their layout.

Our own keys begin with ``PREFIX:``, and those of Celery and Kombu with ``PREFIX.`` (``celery_prefix``). A prefix has
neither sign (config/job_store_settings.py), so that two services with different prefixes on one Redis share no key.
"""

from dataclasses import dataclass
from urllib.parse import quote

from config.settings import RedisSettings

# Raise it with every change that an older release cannot work with; lua/layout.lua then carries older data over.
LAYOUT_VERSION = 4
OLDER_VERSIONS = ("1", "2", "3")
WEBHOOK_QUEUE = ":webhooks"  # Celery's; the queue of a graph never begins with a colon (queue_name)
NO_DIGEST = "-"  # stands for the digest of a job that any worker draws (lua/digests.lua)


def queue_name(graph: str, digest: str = "") -> str:
    """Return the name of the Celery queue of a graph, or of its workers whose model has this digest."""
    # Celery splits lists of queues at commas, and Kombu's own keys begin with _kombu.
    name = quote(graph)
    name = f"%5F{name[1:]}" if name.startswith("_kombu") else name
    return f"{name}@{digest}" if digest else name


def edges_of(digest: str) -> tuple[str, str]:
    """Return the range of texts in which the entries of a digest are (``Keys.by_digest``)."""
    return f"[{digest} ", f"({digest}!"


@dataclass(frozen=True)
class Keys:
    """The keys of the service with this prefix."""

    prefix: str

    @classmethod
    def of(cls, settings: RedisSettings) -> "Keys":
        """Return the keys of the service with these settings."""
        return cls(settings.prefix)

    @property
    def own_prefix(self) -> str:
        """What all of our own keys begin with."""
        return f"{self.prefix}:"

    @property
    def celery_prefix(self) -> str:
        """What all keys and channels of Celery and Kombu begin with."""
        return f"{self.prefix}."

    @property
    def adapters_version(self) -> str:
        """String: changes with every change of the added adapters."""
        return f"{self.prefix}:adapters-version"

    @property
    def adoption(self) -> str:
        """String: jobs of an older layout are not counted yet (lua/adopt.lua)."""
        return f"{self.prefix}:adoption"

    @property
    def deliveries(self) -> str:
        """Sorted set: webhook deliveries by the time at which they are due."""
        return f"{self.prefix}:deliveries"

    @property
    def delivery_sizes(self) -> str:
        """Hash: the bytes and the owner of each delivery, by its id."""
        return f"{self.prefix}:delivery-sizes"

    @property
    def held_deliveries(self) -> str:
        """Sorted set: the deliveries that a process has claimed, by the end of the claim in milliseconds."""
        return f"{self.prefix}:held-deliveries"

    @property
    def request_rates(self) -> str:
        """Prefix: the library that counts requests appends an owner's id and the window."""
        return f"{self.prefix}:rates"

    @property
    def listed_models(self) -> str:
        """Sorted set: DIGEST GRAPH of the models that API processes list, by the time at which one last did."""
        return f"{self.prefix}:listed-models"

    @property
    def removed_graphs(self) -> str:
        """Hash: the graphs that API processes list no longer, with the time at which the last one stopped."""
        return f"{self.prefix}:removed-graphs"

    @property
    def reloads(self) -> str:
        """String: counts how often all processes were asked to read their models again."""
        return f"{self.prefix}:reloads"

    @property
    def events(self) -> str:
        """Stream: the jobs that ended."""
        return f"{self.prefix}:events"

    @property
    def steps(self) -> str:
        """Stream: the jobs with an event that is not their end."""
        return f"{self.prefix}:steps"

    @property
    def kept(self) -> str:
        """Hash: bytes of unfinished jobs in all and by owner, of ended ones, and evictions (lua/keeping.lua)."""
        return f"{self.prefix}:kept"

    @property
    def kept_ended(self) -> str:
        """Sorted set: owners by the bytes of their ended jobs."""
        return f"{self.prefix}:kept-ended"

    @property
    def ended_sizes(self) -> str:
        """Hash: the bytes and the owner of each ended job, by its id."""
        return f"{self.prefix}:ended-sizes"

    @property
    def record_ends(self) -> str:
        """Sorted set: the ended jobs by the time at which their record ends, in milliseconds."""
        return f"{self.prefix}:record-ends"

    @property
    def result_ends(self) -> str:
        """Sorted set: the ended jobs by the time at which their result ends, in milliseconds."""
        return f"{self.prefix}:result-ends"

    @property
    def layout(self) -> str:
        """String: the version of the layout: of all these keys and the fields behind them (redis/layout.py)."""
        return f"{self.prefix}:layout"

    @property
    def sequence(self) -> str:
        """String: counts the submissions."""
        return f"{self.prefix}:sequence"

    @property
    def owner_prefix(self) -> str:
        """Prefix: what belongs to one owner."""
        return f"{self.prefix}:owner:"

    @property
    def name_prefix(self) -> str:
        """Prefix: an owner's name for a job, as OWNER:NAME; string: the id of that job."""
        return f"{self.prefix}:name:"

    @property
    def signing_key(self) -> str:
        """String: what signs URLs."""
        return f"{self.prefix}:signing-key"

    @property
    def workers(self) -> str:
        """Hash: the last heartbeat of each worker."""
        return f"{self.prefix}:workers"

    @property
    def workers_seen(self) -> str:
        """Sorted set: the workers by the time of their last heartbeat in milliseconds."""
        return f"{self.prefix}:workers-seen"

    @property
    def workers_changed(self) -> str:
        """Sorted set: the workers whose heartbeat changed lately, by that time in milliseconds."""
        return f"{self.prefix}:workers-changed"

    @property
    def webhook_messages(self) -> str:
        """List: the messages of WEBHOOK_QUEUE."""
        return f"{self.celery_prefix}{WEBHOOK_QUEUE}"

    def job(self, job_id: str) -> str:
        """Hash: the record of a job."""
        return f"{self.prefix}:job:{job_id}"

    def image(self, job_id: str) -> str:
        """String: the input image as PNG, until the job ends."""
        return f"{self.prefix}:job:{job_id}:image"

    def mask(self, job_id: str) -> str:
        """String: the mask as PNG, until the job ends."""
        return f"{self.prefix}:job:{job_id}:mask"

    def artifact(self, job_id: str, index: int) -> str:
        """String: an encoded image of a completed job, with a time to live."""
        return f"{self.prefix}:job:{job_id}:artifact:{index}"

    def job_events(self, job_id: str) -> str:
        """Stream: the events of a job; an entry's id is its sequence number."""
        return f"{self.prefix}:job:{job_id}:events"

    def queued(self, graph: str) -> str:
        """Sorted set: the waiting jobs of a graph, the next one first."""
        return f"{self.prefix}:queued:{graph}"

    def by_digest(self, graph: str) -> str:
        """Sorted set: the waiting jobs of a graph as DIGEST PLACE ID, of one score (lua/digests.lua)."""
        return f"{self.prefix}:queued-by-digest:{graph}"

    def work(self, graph: str) -> str:
        """Hash: the work of a graph's waiting jobs as sums (lua/work.lua)."""
        return f"{self.prefix}:work:{graph}"

    def running_work(self, graph: str) -> str:
        """Hash: what is left of the work of a graph's running jobs, and how many of each digest run (lua/work.lua)."""
        return f"{self.prefix}:running-work:{graph}"

    def claim(self, worker: str) -> str:
        """String: the id of the job that a worker process claimed last."""
        return f"{self.prefix}:claim:{worker}"

    def ready(self, graph: str, digest: str | None = None) -> str:
        """Sorted set: the workers of a graph that take jobs, or those of a digest, by the time of their heartbeat."""
        return f"{self.prefix}:ready:{graph}" + ("" if digest is None else f":{digest or NO_DIGEST}")

    def reaper(self, graph: str) -> str:
        """String: the worker that reaps the jobs of a graph now."""
        return f"{self.prefix}:reaper:{graph}"

    def digests(self, graph: str) -> str:
        """Sorted set: the digests of a graph's models by the time at which a live worker had them (lua/digests.lua)."""
        return f"{self.prefix}:digests:{graph}"

    def running(self, graph: str) -> str:
        """Sorted set: the running jobs of a graph, by the end of their leases."""
        return f"{self.prefix}:running:{graph}"

    def backlog(self, graph: str) -> str:
        """Hash: the size of a graph's queue: ``bytes``, and ``jobs:OWNER`` and ``bytes:OWNER`` of each owner."""
        return f"{self.prefix}:backlog:{graph}"

    def fairness(self, graph: str) -> str:
        """Hash: where each owner's last job ends in virtual time (lua/submit.lua), and how many moved (front.lua)."""
        return f"{self.prefix}:fairness:{graph}"

    def times(self, graph: str) -> str:
        """List: how long the last completed jobs of a graph took (observe/measured_times.py), newest first."""
        return f"{self.prefix}:times:{graph}"

    def metrics(self, graph: str) -> str:
        """Hash: the metrics of a graph; workers/jobs/observe/metrics.py names its fields."""
        return f"{self.prefix}:metrics:{graph}"

    def failures(self, graph: str) -> str:
        """Sorted set: the last failed jobs of a graph, by the time of their end in milliseconds (lua/shared.lua)."""
        return f"{self.prefix}:failures:{graph}"

    def waiting(self, graph: str) -> str:
        """Sorted set: the waiting jobs of a graph by the time of their submission."""
        return f"{self.prefix}:waiting:{graph}"

    def paused(self, graph: str) -> str:
        """String: no job of the graph is claimed; the time at which that began."""
        return f"{self.prefix}:paused:{graph}"

    def crashes(self, graph: str) -> str:
        """List: the last ten times at which a child of a graph's workers died while it ran a job."""
        return f"{self.prefix}:crashes:{graph}"

    def added_adapters(self, graph: str) -> str:
        """Hash: the LoRA adapters added to a graph while the service runs, by alias."""
        return f"{self.prefix}:adapters:{graph}"

    def folder_adapters(self, graph: str) -> str:
        """Hash: which of a graph's added adapters come from its folder, by alias, with what their files looked like."""
        return f"{self.prefix}:adapters:{graph}:folder"

    def owner_jobs(self, owner: str, status: str | None = None) -> str:
        """Sorted set: an owner's jobs, or those that are shown with a status, by submission number."""
        return f"{self.owner_prefix}{owner}:jobs" + (f":{status}" if status else "")

    def owner_ended(self, owner: str) -> str:
        """Sorted set: an owner's ended jobs by the time of their end in milliseconds."""
        return f"{self.owner_prefix}{owner}:ended"

    def owner_events(self, owner: str) -> str:
        """Stream: the events of all jobs of an owner who is followed (lua/follow.lua)."""
        return f"{self.owner_prefix}{owner}:events"

    def idempotency(self, owner: str, digest: str) -> str:
        """String: the job that a request made, under the digest that identifies the request."""
        return f"{self.owner_prefix}{owner}:once:{digest}"

    def job_name(self, owner: str, name: str) -> str:
        """String: the id of the job to which the owner gave this name."""
        return f"{self.name_prefix}{owner}:{name}"

    def delivery(self, event_id: str) -> str:
        """Hash: a webhook delivery."""
        return f"{self.prefix}:delivery:{event_id}"

    def messages(self, graph: str, digest: str = "") -> str:
        """List: the messages of a graph's Celery queue."""
        return f"{self.celery_prefix}{queue_name(graph, digest)}"
