"""A job that was cancelled and does not reach its next step ends with the process that draws it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    cancel,
    claimed,
    client,
    erase,
    follow,
    look,
    on_metrics,
    submit,
    waiting,
)
from tests.workers.process.worker_process import WorkerProcess, running_worker
from workers.jobs.job import Job, JobError
from workers.jobs.status import ClaimState, Status
from workers.process.step_grace import StepGrace

pytestmark = pytest.mark.usefixtures("processes")

GRACE_S = 0.5
JOBS = JobSettings(step_grace_s=GRACE_S)
SENTENCE = (
    "The job was stopped inside a step, together with the process that drew it: the step did not end within the 0.5 s "
    "of IMAGEGEN_JOBS__STEP_GRACE_S after the job was cancelled or its Cancel-After was over."
)
ENDED = JobError("ended_in_step", SENTENCE)
_LONG_S = 60


def test_the_grace_begins_when_a_job_is_to_stop_and_belongs_to_that_job() -> None:
    over_at_once, never_over = StepGrace(-1), StepGrace(3600)
    for state in (ClaimState.CANCEL, ClaimState.LOST):
        assert over_at_once.is_over("a", state)
        assert not never_over.is_over("a", state)
    assert not over_at_once.is_over("a", ClaimState.GO_ON)
    none = StepGrace(0)
    assert not none.is_over("a", ClaimState.CANCEL), "a job has at least until the next look"
    wait_until(lambda: none.is_over("a", ClaimState.CANCEL))
    assert not none.is_over("b", ClaimState.CANCEL)


@pytest.mark.parametrize("why", ["nothing", "cancel", "deadline", "erase"])
def test_a_renewed_lease_tells_whether_the_job_goes_on(redis_settings: RedisSettings, why: str) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    if why == "cancel":
        cancel(redis_settings, job)
    elif why == "erase":
        erase(redis_settings, job)
    elif why == "deadline":
        with client(redis_settings) as behind:
            behind.hset(keys.job(job.id), "deadline", job.created_at - 1)
    expected = {"nothing": ClaimState.GO_ON, "erase": ClaimState.LOST}.get(why, ClaimState.CANCEL)
    assert Upkeep(redis_settings).renew_lease(job.id) is expected


def test_a_job_past_its_deadline_ends_for_that_reason(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    with client(redis_settings) as behind:
        behind.hset(keys.job(job.id), "deadline", job.created_at - 1)
    assert Upkeep(redis_settings).end_lease(job.id, SENTENCE)
    found = look(redis_settings, job)
    assert (found.status, found.error) == (Status.CANCELLED, JobError("deadline_exceeded", SENTENCE))


@pytest.fixture(scope="module")
def worker(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with redis_server.client() as behind:
        behind.flushall()
    with running_worker(redis_server.settings, tmp_path_factory.mktemp("worker") / "log", JOBS) as running:
        yield running


def _begun(settings: RedisSettings, worker: WorkerProcess, job: Job, step: int = 0) -> None:
    worker.wake()
    wait_until(lambda: look(settings, job).status is Status.IN_PROGRESS, deadline_s=_LONG_S)
    wait_until(lambda: (look(settings, job).step or 0) >= step, deadline_s=_LONG_S)


def _ended(settings: RedisSettings, job: Job) -> bool:
    found = look(settings, job)
    return (found.status, found.error, found.attempts) == (Status.CANCELLED, ENDED, 1)


def test_a_cancelled_job_whose_step_hangs_ends_with_its_process(
    redis_server: RunningRedis, worker: WorkerProcess
) -> None:
    """SIGSTOP makes the child behave like one inside a call of the runtime that never returns."""
    settings, child = redis_server.settings, worker.child()
    job, behind = submit(settings, num_inference_steps=1000), submit(settings)
    _begun(settings, worker, job, step=1)
    os.kill(child, signal.SIGSTOP)
    cancel(settings, job)
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    assert _ended(settings, job)
    assert [event.kind for event in follow(settings, job)][-1] == "cancelled"
    worker.wake()
    wait_until(lambda: look(settings, behind).status is Status.COMPLETED, deadline_s=_LONG_S)
    assert worker.child() != child
    assert _ended(settings, job)
    assert waiting(settings) == []
    counts = on_metrics(settings, [GRAPH]).graphs[GRAPH].counts
    assert (counts["replaced:step_grace"], counts.get("crashes", 0)) == (1, 0)
    assert f"{job.id} stayed inside one step for more than 0.5 s after it was to stop" in worker.log.read_text()


def test_an_erased_job_whose_step_hangs_frees_its_worker(redis_server: RunningRedis, worker: WorkerProcess) -> None:
    settings, child = redis_server.settings, worker.child()
    job, behind = submit(settings, num_inference_steps=1000), submit(settings)
    _begun(settings, worker, job, step=1)
    os.kill(child, signal.SIGSTOP)
    erase(settings, job)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), deadline_s=_LONG_S)
    worker.wake()
    wait_until(lambda: look(settings, behind).status is Status.COMPLETED, deadline_s=_LONG_S)


def test_a_cancelled_job_that_reaches_its_next_step_costs_no_process(
    redis_server: RunningRedis, worker: WorkerProcess
) -> None:
    settings, child = redis_server.settings, worker.child()
    job = submit(settings, num_inference_steps=1000)
    _begun(settings, worker, job)
    cancel(settings, job)
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    assert (look(settings, job).status, look(settings, job).error) == (Status.CANCELLED, None)
    assert worker.child() == child
