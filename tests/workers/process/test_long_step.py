"""A step of a real pipeline that takes too long after a cancellation."""

from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings, WorkerSettings
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import cancel, look, submit
from tests.workers.process.worker_process import running_worker
from workers.jobs.status import Status

pytestmark = pytest.mark.usefixtures("processes")

_LONG_S = 180


def test_a_long_step_after_a_cancellation_ends_with_its_process(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """One step at 2048 x 2048 takes the bundled model about a minute, in which the runtime calls nothing back."""
    settings = redis_settings
    jobs = JobSettings(step_grace_s=0.5)
    with running_worker(settings, tmp_path / "log", jobs, worker=WorkerSettings()) as worker:
        child = worker.child()
        job, small = submit(settings, width=2048, height=2048, num_inference_steps=1), submit(settings)
        worker.wake()
        wait_until(lambda: look(settings, job).status is Status.IN_PROGRESS, deadline_s=_LONG_S)
        cancel(settings, job)
        wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
        found = look(settings, job)
        assert (found.status, found.error and found.error.code, found.attempts) == (
            Status.CANCELLED,
            "ended_in_step",
            1,
        )
        worker.wake()
        wait_until(lambda: look(settings, small).status is Status.COMPLETED, deadline_s=_LONG_S)
        assert worker.child() != child
