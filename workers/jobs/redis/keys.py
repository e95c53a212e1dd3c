"""All Redis keys of this service, and the version of their layout.

A graph's ``queued`` and ``running`` are sorted sets (scores: place in the queue; end of the lease in milliseconds).
``EVENTS`` is a stream that names the jobs that changed, ``job_events`` a stream of all events of one job.
``DELIVERIES`` is a sorted set of webhook deliveries by the time at which they are due, in milliseconds.

Clients reach these keys through ``JobStore`` (store.py), workers through ``Claims`` (claims.py).
"""

from urllib.parse import quote

_PREFIX = "imagegen"

# Raise it with every change of keys or fields that an older release cannot work with; lua/layout.lua then has to carry
# older data over. Version 0 is that of releases that recorded no version. Version 2 has ids of clients as names inside
# an owner; in versions 0 and 1 they are the ids of the jobs themselves, as which store.py finds them still.
LAYOUT_VERSION = 2
OLDER_VERSIONS = ("1",)

ADAPTERS_VERSION = f"{_PREFIX}:adapters-version"
DELIVERIES = f"{_PREFIX}:deliveries"
# Sorted set: the deliveries that a process has claimed, by the end of the claim in milliseconds.
HELD_DELIVERIES = f"{_PREFIX}:held-deliveries"
# Prefix: the library that counts requests appends an owner's id and the window.
REQUEST_RATES = f"{_PREFIX}:rates"
EVENTS = f"{_PREFIX}:events"
# String: the version of the layout, which is all of these keys and the fields behind them (redis/layout.py).
LAYOUT = f"{_PREFIX}:layout"
SEQUENCE = f"{_PREFIX}:sequence"
# Prefix: an owner's name for a job, as OWNER:NAME; string: the id of that job.
NAME_PREFIX = f"{_PREFIX}:name:"
SIGNING_KEY = f"{_PREFIX}:signing-key"
WORKERS = f"{_PREFIX}:workers"
# List: the Celery queue of webhooks. The queue of a graph never begins with this colon (queue_name).
WEBHOOK_QUEUE = f"{_PREFIX}:webhooks"


def job(job_id: str) -> str:
    """Hash: the record of a job."""
    return f"{_PREFIX}:job:{job_id}"


def image(job_id: str) -> str:
    """String: the input image as PNG, until the job ends."""
    return f"{_PREFIX}:job:{job_id}:image"


def mask(job_id: str) -> str:
    """String: the mask as PNG, until the job ends."""
    return f"{_PREFIX}:job:{job_id}:mask"


def artifact(job_id: str, index: int) -> str:
    """String: an encoded image of a completed job, with a time to live."""
    return f"{_PREFIX}:job:{job_id}:artifact:{index}"


def job_events(job_id: str) -> str:
    """Stream: the events of a job; an entry's id is its sequence number."""
    return f"{_PREFIX}:job:{job_id}:events"


def queued(graph: str) -> str:
    """Sorted set: the waiting jobs of a graph, the next one first."""
    return f"{_PREFIX}:queued:{graph}"


def running(graph: str) -> str:
    """Sorted set: the running jobs of a graph, by the end of their leases."""
    return f"{_PREFIX}:running:{graph}"


def backlog(graph: str) -> str:
    """Hash: the size of a graph's queue: ``bytes``, and ``jobs:OWNER`` and ``bytes:OWNER`` of each owner."""
    return f"{_PREFIX}:backlog:{graph}"


def fairness(graph: str) -> str:
    """Hash: where each owner's last job ends in virtual time (lua/submit.lua)."""
    return f"{_PREFIX}:fairness:{graph}"


def pace(graph: str) -> str:
    """String: seconds that one unit of cost takes on one worker, averaged over the last jobs."""
    return f"{_PREFIX}:pace:{graph}"


def metrics(graph: str) -> str:
    """Hash: the metrics of a graph; workers/jobs/observe/metrics.py names its fields."""
    return f"{_PREFIX}:metrics:{graph}"


def waiting(graph: str) -> str:
    """Sorted set: the waiting jobs of a graph by the time of their submission."""
    return f"{_PREFIX}:waiting:{graph}"


def crashes(graph: str) -> str:
    """List: the last ten times at which a child of a graph's workers died while it ran a job."""
    return f"{_PREFIX}:crashes:{graph}"


def added_adapters(graph: str) -> str:
    """Hash: the LoRA adapters added to a graph while the service runs, by alias."""
    return f"{_PREFIX}:adapters:{graph}"


def folder_adapters(graph: str) -> str:
    """Hash: which of a graph's added adapters come from its folder, by alias, with what their files looked like."""
    return f"{_PREFIX}:adapters:{graph}:folder"


def owner_jobs(owner: str) -> str:
    """Sorted set: an owner's jobs by submission number."""
    return f"{_PREFIX}:owner:{owner}:jobs"


def idempotency(owner: str, digest: str) -> str:
    """String: the job that a request made, under the digest that identifies the request."""
    return f"{_PREFIX}:owner:{owner}:once:{digest}"


def job_name(owner: str, name: str) -> str:
    """String: the id of the job to which the owner gave this name."""
    return f"{NAME_PREFIX}{owner}:{name}"


def delivery(event_id: str) -> str:
    """Hash: a webhook delivery."""
    return f"{_PREFIX}:delivery:{event_id}"


def queue_name(graph: str) -> str:
    """List: the Celery queue of a graph. It is quoted because Celery splits lists of queues at commas."""
    return f"{_PREFIX}.{quote(graph)}"
