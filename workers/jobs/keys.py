"""Every Redis key of this service, spelled once.

``job`` is a hash, ``queued`` and ``running`` are sorted sets (submission number; lease expiry in milliseconds),
``EVENTS`` a stream of status changes, ``WORKERS`` a hash of worker name to its last heartbeat.
"""

from urllib.parse import quote

_PREFIX = "imagegen"

EVENTS = f"{_PREFIX}:events"
RUNNING = f"{_PREFIX}:running"
SEQUENCE = f"{_PREFIX}:sequence"
SIGNING_KEY = f"{_PREFIX}:signing-key"
WORKERS = f"{_PREFIX}:workers"

# Celery's own on Redis (kombu's names): messages handed to a worker and not acknowledged yet.
CELERY_UNACKED = "unacked"


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


def queued(graph: str) -> str:
    """Sorted set: the jobs of a graph that wait, by submission number."""
    return f"{_PREFIX}:queued:{graph}"


def queue_name(graph: str) -> str:
    """List: the Celery queue of a graph. Celery splits lists of queues at commas, which names may hold."""
    return f"{_PREFIX}.{quote(graph)}"
