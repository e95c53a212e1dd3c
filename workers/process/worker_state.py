"""What the heartbeat of a worker says of it, put together from what its child reports."""

import time
from dataclasses import replace

from workers.jobs.observe.presence import WorkerActivity, WorkerPresence
from workers.process.shared_memory import SharedMemory


class WorkerState:
    """Knows the stage of a worker and since when it is in that stage."""

    def __init__(self, presence: WorkerPresence, shared: SharedMemory) -> None:
        """``presence`` has what stays the same of the worker."""
        self._presence = presence
        self._shared = shared
        self._doing = ("", "")  # the stage and the job
        self._since = 0.0

    def now(self, *, ready: bool, operations: tuple[str, ...], advice: str | None) -> WorkerPresence:
        """Return the state of this moment. ``advice``: what to do about the device that rests, None for any other."""
        is_resting = advice is not None
        stage = self._shared.stages.current().name.lower() if ready else "resting" if is_resting else "loading"
        last = self._shared.errors.read()
        message = last.message if last else None
        return replace(
            self._presence,
            ready=ready,
            operations=operations,
            stage=stage,
            last_error=f"{advice} {message or ''}".rstrip() if is_resting else message,
            last_error_at=last.at if last else None,
            activity=self._activity(stage),
        )

    def _activity(self, stage: str) -> WorkerActivity:
        job_id = self._shared.running_job.id() or ""
        if (stage, job_id) != self._doing:
            self._doing = (stage, job_id)
            self._since = round(time.time(), 3)
        return WorkerActivity(job_id, self._since, self._shared.stage_times.read())
