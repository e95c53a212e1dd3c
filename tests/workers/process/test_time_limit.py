"""A job that exceeds its time limit fails once, even if its child hangs or its worker dies."""

import os
import signal
import time
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
    claims_of,
    client,
    follow,
    look,
    submit,
    waiting,
)
from tests.workers.process.worker_process import WorkerProcess, running_worker
from workers.jobs.job import Job, JobError
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.status import Status
from workers.process.child_processes import PoolView
from workers.process.drain import WorkerDrain
from workers.process.shared_memory import RunningJob, SharedMemory
from workers.process.supervision import Supervision

pytestmark = pytest.mark.usefixtures("processes")

SOON = JobSettings(time_limit_s=2, step_grace_s=1, lease_s=1.5)
SENTENCE = "The job was stopped: it ran longer than the 2 s of IMAGEGEN_JOBS__TIME_LIMIT_S."
OVERDUE = JobError("timeout", SENTENCE)
PRESENCE = WorkerPresence(name="w", graph=GRAPH, device="CPU", ready=False, operations=(), seen_at=0.0)
_LONG_S = 60


def _timed_out(settings: RedisSettings, job: Job) -> bool:
    found = look(settings, job)
    return (found.status, found.error, found.attempts) == (Status.FAILED, OVERDUE, 1)


def _age(settings: RedisSettings, job: Job, seconds: float) -> None:
    """Move the job's claim this many seconds into the past."""
    with client(settings) as behind:
        started_at = float(str(behind.hget(keys.job(job.id), "started_at")))
        behind.hset(keys.job(job.id), "started_at", started_at - seconds)


class TestTheStoreDecides:
    """The job store compares with the time limit, independent of how the job's run ended."""

    @pytest.mark.parametrize("ran_s", [0, 1.5, 2, 100])
    def test_a_child_that_died(self, settled_redis: RedisSettings, ran_s: float) -> None:
        job = submit(settled_redis, b"image")
        claimed(settled_redis, job)
        _age(settled_redis, job, ran_s)
        upkeep = Upkeep(settled_redis, jobs=SOON)
        upkeep.end_lease(job.id)
        if ran_s >= 2:
            assert _timed_out(settled_redis, job)
            assert upkeep.reap() == []
            assert [event.kind for event in follow(settled_redis, job)] == ["queued", "in_progress", "failed"]
        else:
            assert upkeep.reap() == [job.id]

    @pytest.mark.parametrize("ran_s", [0, 1, 2, 100])
    def test_a_worker_that_died(self, settled_redis: RedisSettings, ran_s: float) -> None:
        """Its lease runs out by itself. Only the time before that counts, not the time until the lease is reaped."""
        job = submit(settled_redis)
        claimed(settled_redis, job, jobs=SOON)
        gone_s = SOON.lease_s + 1
        with client(settled_redis) as behind:
            behind.zincrby(keys.running(GRAPH), -1000 * gone_s, job.id)
        _age(settled_redis, job, ran_s + gone_s)
        requeued = Upkeep(settled_redis, jobs=SOON).reap()
        assert requeued == ([] if ran_s >= 2 else [job.id])
        assert _timed_out(settled_redis, job) == (ran_s >= 2)

    def test_a_job_being_cancelled_is_cancelled(self, settled_redis: RedisSettings) -> None:
        job = submit(settled_redis)
        claimed(settled_redis, job)
        _age(settled_redis, job, 100)
        cancel(settled_redis, job)
        upkeep = Upkeep(settled_redis, jobs=SOON)
        upkeep.end_lease(job.id)
        upkeep.reap()
        assert look(settled_redis, job).status is Status.CANCELLED

    def test_the_job_of_another_worker_and_an_ended_job_do_not_change(self, settled_redis: RedisSettings) -> None:
        job = submit(settled_redis)
        claim = claimed(settled_redis, job, "other")
        _age(settled_redis, job, 100)
        upkeep = Upkeep(settled_redis, jobs=SOON)
        upkeep.end_lease(job.id)
        assert claims_of(settled_redis).complete(claim, [b"image"], {})
        Upkeep(settled_redis, "other", jobs=SOON).end_lease(job.id)
        assert look(settled_redis, job).status is Status.COMPLETED


def test_a_child_lost_while_redis_is_away_is_recorded_when_it_is_back(
    redis_server: RunningRedis, redis_settings: RedisSettings
) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job, jobs=JobSettings())
    _age(redis_settings, job, 100)
    upkeep = Upkeep(redis_settings, jobs=SOON)
    there = upkeep._release
    shared = SharedMemory()
    pool = PoolView(lambda: {os.getpid()}, lambda: None, lambda: None)
    drain = WorkerDrain(upkeep, shared.commands, pool.living, limit_s=60)
    supervision = Supervision(upkeep, PRESENCE, shared, pool, drain)
    upkeep._release = Upkeep(RedisSettings(url="redis://127.0.0.1:1/0"))._release
    shared.running_job.set(job.id)
    supervision.start()
    supervision.child_lost()
    assert look(redis_settings, job).status is Status.IN_PROGRESS
    upkeep._release = there
    wait_until(lambda: _timed_out(redis_settings, job))
    supervision.stop()
    supervision.join(5)


def test_no_time_limit_applies_while_images_wait_to_be_stored() -> None:
    running = RunningJob()
    assert running.running_s() == 0
    running.set("imgjob_1")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 0.05)
    assert 0.05 <= running.running_s() < 60
    running.set_drawn("imgjob_1")
    assert running.id() == "imgjob_1"
    assert running.running_s() < 0


@pytest.fixture(scope="module")
def worker(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with redis_server.client() as behind:
        behind.flushall()
    with running_worker(redis_server.settings, tmp_path_factory.mktemp("worker") / "log", SOON) as running:
        yield running


def _drawn(settings: RedisSettings, worker: WorkerProcess) -> bool:
    job = submit(settings)
    worker.wake()
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    return look(settings, job).status is Status.COMPLETED


def _runs(settings: RedisSettings, job: Job) -> bool:
    return (look(settings, job).step or 0) >= 1


def test_a_job_stops_at_the_step_after_its_time(redis_server: RunningRedis, worker: WorkerProcess) -> None:
    settings, child = redis_server.settings, worker.child()
    job = submit(settings, num_inference_steps=1000)
    worker.wake()
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    assert _timed_out(settings, job)
    assert _drawn(settings, worker)
    assert worker.child() == child


def test_a_job_that_hangs_ends_with_the_process_that_runs_it(redis_server: RunningRedis, worker: WorkerProcess) -> None:
    """SIGSTOP makes the child behave like one inside a C++ call that never returns."""
    settings, child = redis_server.settings, worker.child()
    job, behind = submit(settings, num_inference_steps=1000), submit(settings)
    worker.wake()
    wait_until(lambda: _runs(settings, job), deadline_s=_LONG_S)
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    assert _timed_out(settings, job)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), deadline_s=_LONG_S)
    worker.wake()
    wait_until(lambda: look(settings, behind).status is Status.COMPLETED, deadline_s=_LONG_S)
    assert _timed_out(settings, job)
    assert waiting(settings) == []


def test_a_child_that_dies_when_its_time_is_up_has_not_crashed(
    redis_server: RunningRedis, worker: WorkerProcess
) -> None:
    """The kernel may kill it like this for want of memory, before the main process has ended the job."""
    settings, child = redis_server.settings, worker.child()
    job = submit(settings, num_inference_steps=1000)
    worker.wake()
    wait_until(lambda: _runs(settings, job), deadline_s=_LONG_S)
    os.kill(child, signal.SIGSTOP)
    _age(settings, job, 2)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: look(settings, job).status.is_final, deadline_s=_LONG_S)
    assert _timed_out(settings, job)
    assert _drawn(settings, worker)
