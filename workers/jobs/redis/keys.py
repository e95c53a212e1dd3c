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
# an owner; in versions 0 and 1 they are the ids of the jobs themselves, as which store.py finds them still. Version 3
# counts what each owner keeps (lua/keeping.lua) and lists jobs by status; lua/adopt.lua counts those of older versions.
LAYOUT_VERSION = 3
OLDER_VERSIONS = ("1", "2")

ADAPTERS_VERSION = f"{_PREFIX}:adapters-version"
# String: jobs of an older layout are not counted yet (lua/adopt.lua).
ADOPTION = f"{_PREFIX}:adoption"
DELIVERIES = f"{_PREFIX}:deliveries"
# Hash: the bytes and the owner of each delivery, by its id.
DELIVERY_SIZES = f"{_PREFIX}:delivery-sizes"
# Sorted set: the deliveries that a process has claimed, by the end of the claim in milliseconds.
HELD_DELIVERIES = f"{_PREFIX}:held-deliveries"
# Prefix: the library that counts requests appends an owner's id and the window.
REQUEST_RATES = f"{_PREFIX}:rates"
EVENTS = f"{_PREFIX}:events"
# What owners keep (lua/keeping.lua). Hash: bytes of unfinished jobs in all and by owner, of ended ones, and evictions.
KEPT = f"{_PREFIX}:kept"
# Sorted set: owners by the bytes of their ended jobs.
KEPT_ENDED = f"{_PREFIX}:kept-ended"
# Hash: the bytes and the owner of each ended job, by its id.
ENDED_SIZES = f"{_PREFIX}:ended-sizes"
# Sorted sets: the ended jobs by the time at which their record and their result end, in milliseconds.
RECORD_ENDS = f"{_PREFIX}:record-ends"
RESULT_ENDS = f"{_PREFIX}:result-ends"
# String: the version of the layout, which is all of these keys and the fields behind them (redis/layout.py).
LAYOUT = f"{_PREFIX}:layout"
SEQUENCE = f"{_PREFIX}:sequence"
# Prefix: what belongs to one owner.
OWNER_PREFIX = f"{_PREFIX}:owner:"
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


def times(graph: str) -> str:
    """List: how long the last completed jobs of a graph took (workers/jobs/observe/measured_times.py), newest first."""
    return f"{_PREFIX}:times:{graph}"


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


def owner_jobs(owner: str, status: str | None = None) -> str:
    """Sorted set: an owner's jobs, or those that are shown with a status, by submission number."""
    return f"{OWNER_PREFIX}{owner}:jobs" + (f":{status}" if status else "")


def owner_ended(owner: str) -> str:
    """Sorted set: an owner's ended jobs by the time of their end in milliseconds."""
    return f"{OWNER_PREFIX}{owner}:ended"


def idempotency(owner: str, digest: str) -> str:
    """String: the job that a request made, under the digest that identifies the request."""
    return f"{OWNER_PREFIX}{owner}:once:{digest}"


def job_name(owner: str, name: str) -> str:
    """String: the id of the job to which the owner gave this name."""
    return f"{NAME_PREFIX}{owner}:{name}"


def delivery(event_id: str) -> str:
    """Hash: a webhook delivery."""
    return f"{_PREFIX}:delivery:{event_id}"


def queue_name(graph: str) -> str:
    """List: the Celery queue of a graph. It is quoted because Celery splits lists of queues at commas."""
    return f"{_PREFIX}.{quote(graph)}"
