"""How much may wait, for whom, and what Redis needs for that."""

from dataclasses import dataclass
from typing import Literal

from config.settings import JobSettings
from graphs.api_keys import ANYONE

Bound = Literal["jobs", "bytes", "owner_jobs", "owner_bytes"]

# Of a job beside its request and pictures: hash, stream of events, its places in sorted sets and in Celery's list.
JOB_OVERHEAD_BYTES = 8 * 2**10
# Of a step: its event.
STEP_BYTES = 128
# What there is but once: scripts, the common stream of 10000 events, workers, clients' buffers.
FIXED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class QueueBounds:
    """What may wait for one graph: jobs and bytes, in all and of one owner."""

    jobs: int
    bytes: int
    owner_jobs: int
    owner_bytes: int

    @property
    def largest_job_bytes(self) -> int:
        """What a single job may bring."""
        return min(self.bytes, self.owner_bytes)

    def sentence(self, bound: Bound, graph: str) -> str:
        """Return which bound is reached."""
        return {
            "jobs": f"{self.jobs} jobs wait for {graph!r} already; try again later.",
            "bytes": f"What waits for {graph!r} has nearly {self.bytes} bytes, the most it may; try again later.",
            "owner_jobs": f"{self.owner_jobs} jobs of this API key wait for {graph!r} already; try again later.",
            "owner_bytes": f"What waits for {graph!r} of this API key has nearly {self.owner_bytes} bytes, the most it "
            "may; try again later.",
        }[bound]


def queue_bounds(jobs: JobSettings, owner: str) -> QueueBounds:
    """Return the bounds for an owner; without API keys everyone is the same one, who may fill the queue."""
    if owner == ANYONE.id:
        return QueueBounds(jobs.max_queued, jobs.max_queued_bytes, jobs.max_queued, jobs.max_queued_bytes)
    return QueueBounds(jobs.max_queued, jobs.max_queued_bytes, jobs.max_queued_per_key, jobs.max_queued_bytes_per_key)


def queue_memory_bytes(jobs: JobSettings, graphs: int, workers: int) -> int:
    """Return the most memory that waiting and running jobs take, for so many graphs and workers.

    A running job keeps its inputs until it ends, and may be as large as all that waits.
    """
    waiting = _allocated(jobs.max_queued_bytes) + jobs.max_queued * JOB_OVERHEAD_BYTES
    running = _allocated(jobs.max_queued_bytes) + JOB_OVERHEAD_BYTES
    return graphs * waiting + workers * running


def kept_memory_bytes(
    jobs: JobSettings, *, jobs_per_s: float, steps: int, picture_bytes: int, request_bytes: int
) -> int:
    """Return the most memory that ended jobs take, when they end at this rate until their times to live are over.

    ``picture_bytes``: a job's pictures and partial images together; ``request_bytes``: its request as JSON.
    """
    result = _allocated(picture_bytes) + steps * STEP_BYTES
    record = _allocated(request_bytes) + JOB_OVERHEAD_BYTES
    return int(jobs_per_s * (jobs.result_ttl_s * result + jobs.record_ttl_s * record))


def _allocated(size_bytes: int) -> int:
    """Allocators round sizes up, by a quarter at most (jemalloc's classes)."""
    return size_bytes + size_bytes // 4
