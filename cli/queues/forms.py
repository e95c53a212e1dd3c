"""The form of the answers about queues (cli/client/answers.py)."""

from pydantic import Field

from cli.client.answers import LATEST_S, AnswerForm


class JobsCancelledForm(AnswerForm):
    """How many jobs were cancelled."""

    cancelled: int = Field(ge=0)
    has_more: bool


class QueueChangedForm(AnswerForm):
    """The models whose queue was paused or resumed."""

    models: list[str]


class WaitingOwnerForm(AnswerForm):
    """What waits of one owner."""

    owner: str
    model: str
    queued: int
    queued_bytes: int


class WaitingOwnersForm(AnswerForm):
    """What waits of all owners."""

    data: list[WaitingOwnerForm]


class WaitingJobForm(AnswerForm):
    """A job that waits, as administrators see it."""

    id: str = Field(min_length=1)
    owner: str
    model: str
    priority: str
    created_at: float = Field(ge=0, le=LATEST_S)
    moved: bool
    steps: int
    n: int
    pixels: int


class WaitingJobsForm(AnswerForm):
    """A page of the jobs that wait for a model."""

    data: list[WaitingJobForm]
    has_more: bool


class FailedJobForm(AnswerForm):
    """A job that failed, as administrators see it."""

    id: str
    owner: str
    model: str
    worker: str | None
    failed_at: float = Field(ge=0, le=LATEST_S)
    code: str
    message: str


class FailedJobsForm(AnswerForm):
    """The last jobs that failed."""

    data: list[FailedJobForm]


class WorkerForm(AnswerForm):
    """A worker, as administrators see it."""

    name: str
    model: str
    device: str
    stage: str
    since: float | None = Field(ge=0, le=LATEST_S)
    job: str | None
    last_job_seconds: dict[str, float]
    last_error: str | None


class WorkersForm(AnswerForm):
    """All workers."""

    data: list[WorkerForm]


class JobMovedForm(AnswerForm):
    """The job that was moved to the front."""

    id: str
    owner: str
    model: str
