"""Every Redis key of this service, spelled once.

A graph's ``queued`` and ``running`` are sorted sets (place in the queue; lease expiry in milliseconds), ``EVENTS`` a
stream that says which job changed, ``job_events`` a stream with everything that happened to one job. ``DELIVERIES`` is
a sorted set: webhook deliveries by when they are due, in milliseconds.
"""

from urllib.parse import quote

_PREFIX = "imagegen"

# Raise it with every change of keys or fields that an older release cannot work with; lua/layout.lua then has to carry
# older data over. Version 0 is the same layout, from before releases recorded a version.
LAYOUT_VERSION = 1

ADAPTERS_VERSION = f"{_PREFIX}:adapters-version"
DELIVERIES = f"{_PREFIX}:deliveries"
# The library that counts requests adds an owner's id and which window.
REQUEST_RATES = f"{_PREFIX}:rates"
EVENTS = f"{_PREFIX}:events"
# String: the version of the layout, which is all of these keys and the fields behind them (redis/layout.py).
LAYOUT = f"{_PREFIX}:layout"
SEQUENCE = f"{_PREFIX}:sequence"
SIGNING_KEY = f"{_PREFIX}:signing-key"
WORKERS = f"{_PREFIX}:workers"
# A colon, as no queue of a graph begins like that, whatever the graph is called.
WEBHOOK_QUEUE = f"{_PREFIX}:webhooks"


def job(job_id: str) -> str:
    """Hash: what is known of a job."""
    return f"{_PREFIX}:job:{job_id}"


def image(job_id: str) -> str:
    """String: the input image as PNG, until the job ends."""
    return f"{_PREFIX}:job:{job_id}:image"


def mask(job_id: str) -> str:
    """String: the mask as PNG, until the job ends."""
    return f"{_PREFIX}:job:{job_id}:mask"


def artifact(job_id: str, index: int) -> str:
    """String: a finished picture, with a time to live."""
    return f"{_PREFIX}:job:{job_id}:artifact:{index}"


def job_events(job_id: str) -> str:
    """Stream: what happened to a job; an entry's id is its sequence number."""
    return f"{_PREFIX}:job:{job_id}:events"


def queued(graph: str) -> str:
    """Sorted set: the jobs of a graph that wait, the next one first."""
    return f"{_PREFIX}:queued:{graph}"


def running(graph: str) -> str:
    """Sorted set: the jobs of a graph that a worker holds, by the end of its lease."""
    return f"{_PREFIX}:running:{graph}"


def backlog(graph: str) -> str:
    """Hash: how much waits of a graph: ``bytes``, and ``jobs:OWNER`` and ``bytes:OWNER`` of each owner."""
    return f"{_PREFIX}:backlog:{graph}"


def fairness(graph: str) -> str:
    """Hash: how far each owner's jobs reach into the queue (see lua/submit.lua)."""
    return f"{_PREFIX}:fairness:{graph}"


def pace(graph: str) -> str:
    """String: seconds that a unit of cost takes on one worker, averaged over the last jobs."""
    return f"{_PREFIX}:pace:{graph}"


def metrics(graph: str) -> str:
    """Hash: what /metrics tells of a graph; workers/jobs/observe/metrics.py names its fields."""
    return f"{_PREFIX}:metrics:{graph}"


def waiting(graph: str) -> str:
    """Sorted set: the jobs of a graph that wait, by when they were submitted."""
    return f"{_PREFIX}:waiting:{graph}"


def crashes(graph: str) -> str:
    """List: when children of workers of a graph died of a job, the last ten times."""
    return f"{_PREFIX}:crashes:{graph}"


def added_adapters(graph: str) -> str:
    """Hash: the LoRA adapters added to a graph while the service runs, by alias."""
    return f"{_PREFIX}:adapters:{graph}"


def owner_jobs(owner: str) -> str:
    """Sorted set: an owner's jobs by submission number."""
    return f"{_PREFIX}:owner:{owner}:jobs"


def idempotency(owner: str, digest: str) -> str:
    """String: the job that a request made, under the digest of what tells this request from others."""
    return f"{_PREFIX}:owner:{owner}:once:{digest}"


def delivery(event_id: str) -> str:
    """Hash: an event that a client's server is to be told of."""
    return f"{_PREFIX}:delivery:{event_id}"


def queue_name(graph: str) -> str:
    """List: the Celery queue of a graph. Celery splits lists of queues at commas, which names may hold."""
    return f"{_PREFIX}.{quote(graph)}"
