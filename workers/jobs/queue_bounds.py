"""How many jobs and bytes may wait and be kept, of one owner and in all, and how much memory of Redis that needs."""

from dataclasses import dataclass
from enum import StrEnum

from config.settings import JobSettings
from graphs.api_keys import ANYONE

# Of a job beside its request and images: its hash, its stream, its entries in sorted sets and in Celery's list.
JOB_OVERHEAD_BYTES = 8 * 2**10
# Of a webhook delivery beside its URL and its data.
DELIVERY_OVERHEAD_BYTES = 2 * 2**10
# Allocators round sizes up, by a quarter at most (jemalloc's size classes).
ALLOCATED = 1.25
# The share of maxmemory that jobs may take. The rest is for what is not counted: images of running jobs, connections,
# the common stream, scripts. So accepted jobs can end, and others be accepted, at any time.
ROOM_SHARE = 0.75
# The share of that which one API key may keep; without keys all clients are one owner.
_KEY_SHARE = 0.5
# The event of a step.
STEP_BYTES = 128
# Fixed overhead: scripts, the common stream of 10000 events, the workers' state, the clients' buffers.
FIXED_BYTES = 64 * 2**20


class Bound(StrEnum):
    """The bound of a queue that a submission would exceed, as ``lua/submit.lua`` returns it."""

    JOBS = "jobs"
    BYTES = "bytes"
    OWNER_JOBS = "owner_jobs"
    OWNER_BYTES = "owner_bytes"


@dataclass(frozen=True)
class QueueBounds:
    """What may wait for one graph: jobs and bytes, in all and of one owner."""

    jobs: int
    bytes: int
    owner_jobs: int
    owner_bytes: int

    @property
    def largest_job_bytes(self) -> int:
        """How many bytes a single job may have."""
        return min(self.bytes, self.owner_bytes)

    def sentence(self, bound: Bound, graph: str) -> str:
        """Return the sentence that names the bound which is reached."""
        match bound:
            case Bound.JOBS:
                return f"{self.jobs} jobs wait for {graph!r} already; try again later."
            case Bound.BYTES:
                return f"What waits for {graph!r} has nearly {self.bytes} bytes, the most it may; try again later."
            case Bound.OWNER_JOBS:
                return f"{self.owner_jobs} jobs of this API key wait for {graph!r} already; try again later."
            case Bound.OWNER_BYTES:
                return (
                    f"What waits for {graph!r} of this API key has nearly {self.owner_bytes} bytes, the most it may; "
                    "try again later."
                )


def queue_bounds(jobs: JobSettings, owner: str) -> QueueBounds:
    """Return the bounds for an owner. Without API keys all clients are one owner, who may fill the queue."""
    if owner == ANYONE.id:
        return QueueBounds(jobs.max_queued, jobs.max_queued_bytes, jobs.max_queued, jobs.max_queued_bytes)
    return QueueBounds(jobs.max_queued, jobs.max_queued_bytes, jobs.max_queued_per_key, jobs.max_queued_bytes_per_key)


@dataclass(frozen=True)
class KeptBounds:
    """What Redis may keep of one owner: jobs, bytes (None for no bound of its own), and a share of all jobs' room."""

    jobs: int | None
    bytes: int | None
    share: float

    def arguments(self) -> dict[str, float | None]:
        """Return the bounds as the arguments of a script."""
        return {"max_kept": self.jobs, "max_kept_bytes": self.bytes, "kept_share": self.share}


def kept_bounds(jobs: JobSettings, owner: str) -> KeptBounds:
    """Return the bounds for an owner. Without API keys all clients are one owner, who may fill the room of all jobs."""
    if owner == ANYONE.id:
        return KeptBounds(None, None, 1.0)
    return KeptBounds(jobs.max_kept_per_key, jobs.max_kept_bytes_per_key, _KEY_SHARE)


def queue_memory_bytes(jobs: JobSettings, graphs: int, workers: int) -> int:
    """Return the most memory that waiting and running jobs take, with so many graphs and workers.

    A running job keeps its input images until it ends, and may be as large as the whole queue.
    """
    waiting = _allocated(jobs.max_queued_bytes) + jobs.max_queued * JOB_OVERHEAD_BYTES
    running = _allocated(jobs.max_queued_bytes) + JOB_OVERHEAD_BYTES
    return graphs * waiting + workers * running


def ended_memory_bytes(
    jobs: JobSettings, *, jobs_per_s: float, steps: int, artifact_bytes: int, request_bytes: int
) -> int:
    """Return the most memory that ended jobs take, when they end at this rate until their times to live are over.

    ``artifact_bytes``: a job's artifacts and previews together; ``request_bytes``: its request as JSON.
    """
    result = _allocated(artifact_bytes) + steps * STEP_BYTES
    record = _allocated(request_bytes) + JOB_OVERHEAD_BYTES
    return int(jobs_per_s * (jobs.result_ttl_s * result + jobs.record_ttl_s * record))


def _allocated(size_bytes: int) -> int:
    return int(size_bytes * ALLOCATED)
