"""A job: an accepted request with an id and a status."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.requests.request import ResolvedRequest
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import work_of
from workers.jobs.status import EXPIRED, Status

_NEW_ID = re.compile(r"imgjob_[0-9a-f]{24}", re.ASCII)


@dataclass(frozen=True)
class JobError:
    """Why a job failed or was cancelled, for its owner."""

    code: str
    message: str


@dataclass(frozen=True)
class Job:
    """The record of a job. Times are unix seconds; ``seconds`` is the worker's time by stage.

    ``attempts`` counts every one, those too that ended because a device failed: ``device_faults``.
    ``id`` is never used twice. ``own_name`` is the id that the owner chose, if any: a name among the owner's jobs only.
    ``artifact_sizes`` are in bytes, and empty for jobs of releases up to 0.1.0.
    ``loaded_artifacts`` are there where they were read together with the record.
    """

    id: str
    request: ResolvedRequest
    options: JobOptions
    status: Status
    created_at: float
    started_at: float | None = None
    completed_at: float | None = None
    expires_at: float | None = None
    step: int | None = None
    total_steps: int | None = None
    attempts: int = 0
    device_faults: int = 0
    error: JobError | None = None
    seconds: Mapping[str, float] | None = None
    artifacts: int = 0
    artifact_sizes: tuple[int, ...] = ()
    cost: float = 0.0
    events: int = 0
    sequence: int = 0
    own_name: str | None = None
    worker_warnings: tuple[str, ...] = ()
    loaded_artifacts: tuple[bytes, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The id that clients see: the owner's own, else that of the record."""
        return self.own_name or self.id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is drawn otherwise than the client may expect: what was known when it asked, then what a worker saw."""
        return (*self.request.warnings, *self.worker_warnings)

    @property
    def progress(self) -> int:
        """Percent done, 0 to 100; 100 only once the artifacts are stored."""
        if self.status is Status.COMPLETED:
            return 100
        return min(99, 100 * (self.step or 0) // self.total_steps) if self.total_steps else 0


def status_shown(job: Job, now: float) -> str:
    """Return the status that clients see: EXPIRED for a completed job whose artifacts are gone.

    ``now`` is unix seconds.
    """
    has_expired = job.status is Status.COMPLETED and job.expires_at is not None and now >= job.expires_at
    return EXPIRED if has_expired else job.status.value


def cost_of(request: ResolvedRequest) -> float:
    """Return the cost of a request: its denoising steps times its megapixels, at least 0.01."""
    work = work_of(request)
    return max(0.01, work.steps * work.pixels / 1e6)


def overdue_error(time_limit_s: int) -> JobError:
    """Return the error of a job that ran for its whole time limit."""
    return JobError(
        "timeout", f"The job was stopped: it ran longer than the {time_limit_s} s of IMAGEGEN_JOBS__TIME_LIMIT_S."
    )


def model_changed_message(grace_s: float) -> str:
    """Return what a job says that no live worker may draw, because its model is another one."""
    return (
        f"For {grace_s:g} s (IMAGEGEN_JOBS__DIGEST_GRACE_S) no worker had the model that this request was accepted "
        "for: the model was changed meanwhile, or this server and its workers have different models under one name "
        "(`imagegen doctor` tells). Send the request again."
    )


def model_removed_message(grace_s: float) -> str:
    """Return what a job says whose graph is no longer served."""
    return (
        "The model of this job is no longer served here: it was taken out while the job waited, and the job was not "
        f"drawn in the {grace_s:g} s of IMAGEGEN_JOBS__REMOVED_GRACE_S after that. Ask for another model."
    )


def ended_in_step_message(grace_s: float) -> str:
    """Return what a cancelled job says whose process was ended because it did not reach its next step."""
    return (
        "The job was stopped inside a step, together with the process that drew it: the step did not end within the "
        f"{grace_s:g} s of IMAGEGEN_JOBS__STEP_GRACE_S after the job was cancelled or its Cancel-After was over."
    )


def new_job_id() -> str:
    """Return a random id that cannot be guessed."""
    return f"imgjob_{secrets.token_hex(12)}"


def is_new_id(text: str) -> bool:
    """Return whether a text has the form of ``new_job_id``."""
    return _NEW_ID.fullmatch(text) is not None


def job_from_hash(job_id: str, stored: Mapping[bytes, bytes]) -> Job:
    """Return the job of a Redis hash (``stored`` has at least request, status and created_at)."""

    def text(name: str) -> str | None:
        value = stored.get(name.encode())
        return None if value is None else value.decode()

    def number(name: str) -> float | None:
        value = text(name)
        return None if value is None else float(value)

    def count(name: str) -> int | None:
        value = text(name)
        return None if value is None else int(value)

    error = text("error")
    seconds = text("seconds")
    return Job(
        id=job_id,
        request=ResolvedRequest.model_validate_json(stored[b"request"]),
        options=JobOptions.model_validate_json(stored.get(b"options", b"{}")),
        status=Status(stored[b"status"].decode()),
        created_at=float(stored[b"created_at"]),
        started_at=number("started_at"),
        completed_at=number("completed_at"),
        expires_at=number("expires_at"),
        step=count("step"),
        total_steps=count("total_steps"),
        attempts=count("attempts") or 0,
        device_faults=count("device_faults") or 0,
        error=JobError(**json.loads(error)) if error else None,
        seconds=json.loads(seconds) if seconds else None,
        artifacts=count("artifacts") or 0,
        artifact_sizes=tuple(json.loads(text("artifact_sizes") or "[]")),
        cost=number("cost") or 0.0,
        events=count("events") or 0,
        sequence=count("sequence") or 0,
        own_name=text("name"),
        worker_warnings=tuple(json.loads(text("worker_warnings") or "[]")),
    )
