"""How long a job that is to stop may stay inside one step: a call of the runtime that nothing interrupts."""

import time

from workers.jobs.status import ClaimState


class StepGrace:
    """Measures for how long the running job has been asked to stop: it was cancelled, erased or is past its deadline.

    A job that reaches its next step stops by itself, so one that has not stopped is still inside one step.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._job_id: str | None = None
        self._since = 0.0

    def is_over(self, job_id: str, state: ClaimState) -> bool:
        """Note the state of the running job's claim; return whether it was asked to stop more than the grace ago."""
        if state is ClaimState.GO_ON:
            self._job_id = None
            return False
        now = time.monotonic()
        if job_id != self._job_id:
            self._job_id = job_id
            self._since = now
        return now - self._since > self._grace_s
