"""The bodies of answers about queues, workers and owners."""

from typing import Literal

from pydantic import BaseModel, Field


class WorkerBody(BaseModel):
    """A worker that is alive: what its child does, and the last error there."""

    device: str
    ready: bool
    stage: str = Field(description="One of: loading, idle, drawing, checking, storing, resting.")
    last_error: str | None
    last_error_at: int | None


class NamedWorkerBody(WorkerBody):
    """A worker as its last heartbeat shows it to administrators. Times are those of its machine's clock."""

    name: str = Field(description="NODE/MACHINE/PID/RANDOM")
    model: str
    digest: str | None = Field(description="Of its model; null where it draws any job of this name.")
    stage: str = Field(description="As above; failed: it could not load its model, and has ended.")
    since: int | None = Field(description="When the stage or the job began; null where that is unknown.")
    job: str | None = Field(description="The job that runs.")
    last_job_seconds: dict[str, float] = Field(description="Of the last job that it drew, by stage.")
    seen_at: int = Field(description="The last heartbeat, by Redis's clock.")


class Workers(BaseModel):
    """All workers that are alive, and those that have lately failed to load their model."""

    object: Literal["list"] = "list"
    data: list[NamedWorkerBody]


class QueuedGraphBody(BaseModel):
    """The queue of a graph, and its workers."""

    model: str
    queued: int
    queued_limit: int = Field(description="How many jobs may wait; more requests get status 429.")
    running: int
    oldest_wait_seconds: float
    paused_at: int | None = Field(description="Since when no job of it begins; null unless an administrator paused it.")
    workers: list[WorkerBody]


class QueueBody(BaseModel):
    """The queues of all graphs."""

    object: Literal["list"] = "list"
    data: list[QueuedGraphBody]


class QueueChanged(BaseModel):
    """The answer to a pause or its end: the graphs where that changed anything."""

    object: Literal["image.queue"] = "image.queue"
    paused: bool
    models: list[str]


class WaitingOwnerBody(BaseModel):
    """What waits of one owner: its label in the key file, or its id."""

    owner: str
    model: str
    queued: int
    queued_bytes: int


class WaitingOwners(BaseModel):
    """What waits, by owner and graph."""

    object: Literal["list"] = "list"
    data: list[WaitingOwnerBody]


class WaitingJobBody(BaseModel):
    """A job that waits, as administrators see it: whose it is and how much it asks for, but not what."""

    id: str
    owner: str
    model: str
    priority: str
    created_at: int
    queue_position: int = Field(description="How many jobs are before it.")
    moved: bool = Field(description="Whether an administrator has moved it to the front.")
    steps: int = Field(description="The denoising steps of all of its images.")
    n: int
    pixels: int = Field(description="Of one image.")


class WaitingJobs(BaseModel):
    """A page of the jobs that wait in the queue of a model, the next one first."""

    object: Literal["list"] = "list"
    data: list[WaitingJobBody]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FailedJobBody(BaseModel):
    """A job that failed, as administrators see it."""

    id: str
    owner: str
    model: str
    worker: str | None = Field(description="The worker that had it; null where it waited.")
    failed_at: int
    code: str
    message: str


class FailedJobs(BaseModel):
    """The last jobs that failed, the newest first."""

    object: Literal["list"] = "list"
    data: list[FailedJobBody]


class JobMoved(BaseModel):
    """The answer to the move of a job: it is the next one of its model."""

    object: Literal["image.job.moved"] = "image.job.moved"
    id: str
    owner: str
    model: str


class LimitsBody(BaseModel):
    """What one owner may; null where there is no such limit. Bytes and jobs of a queue are those of one model."""

    requests_per_minute: int | None
    queued_jobs: int
    queued_bytes: int
    kept_jobs: int | None
    kept_bytes: int | None
    max_priority: str


class OwnerBody(BaseModel):
    """Who a client is: the label of its key, or the id of its jobs' owner."""

    object: Literal["owner"] = "owner"
    owner: str
    administrator: bool
    keys_required: bool
    limits: LimitsBody
