"""A child whose task takes longer than any may is ended; Celery keeps no time for us."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping

import pytest

from config.settings import JobSettings, RedisSettings, Settings
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    cancel,
    claimed,
    client,
    look,
    on_metrics,
    submit,
    waiting,
)
from tests.workers.process.runner_support import TinyEngine
from workers.jobs.broker import make_celery
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import Job, overdue_error
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.status import Status
from workers.process.child_processes import PoolView, is_running
from workers.process.drain import WorkerDrain
from workers.process.runner import Runner
from workers.process.shared_memory import SharedMemory
from workers.process.supervision import Supervision

pytestmark = pytest.mark.usefixtures("processes")

JOBS = JobSettings(time_limit_s=60, step_grace_s=5, result_ttl_s=120)
PRESENCE = WorkerPresence(name="w", graph=GRAPH, device="CPU", ready=False, operations=(), seen_at=0.0)


@pytest.fixture
def child() -> Iterator[int]:
    """Return the pid of a process that stands for a child, and does not end by itself."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def _supervision(redis: RedisSettings, shared: SharedMemory, child: int) -> Supervision:
    upkeep = Upkeep(redis, jobs=JOBS)
    pool = PoolView(lambda: {child}, lambda: None, lambda: None)
    drain = WorkerDrain(upkeep, shared.commands, pool.living, limit_s=60, end=lambda: None)
    return Supervision(upkeep, PRESENCE, shared, pool, drain)


def _has_run_a_task(shared: SharedMemory, child: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic() - seconds
    with monkeypatch.context() as patched:
        patched.setattr("workers.process.child_reports.time.monotonic", lambda: began)
        shared.task_clock.start(child)


def _drawn(settings: RedisSettings, shared: SharedMemory, seconds: float) -> Job:
    """Return a job that the child claimed so long ago; its images wait to be stored."""
    job = submit(settings)
    claimed(settings, job, jobs=JOBS)
    with client(settings) as behind:
        behind.hincrbyfloat(keys.job(job.id), "started_at", -seconds)
    shared.running_job.set(job.id)
    shared.running_job.set_drawn(job.id)
    return job


def _counts(settings: RedisSettings) -> Mapping[str, int]:
    return on_metrics(settings, [GRAPH]).graphs[GRAPH].counts


def test_a_child_that_hangs_while_it_stores_is_ended_and_its_job_fails(
    settled_redis: RedisSettings, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedMemory()
    supervision = _supervision(settled_redis, shared, child)
    job = _drawn(settled_redis, shared, JOBS.last_resort_s + 1)
    _has_run_a_task(shared, child, JOBS.last_resort_s - 60, monkeypatch)
    supervision.cycle()
    assert look(settled_redis, job).status is Status.IN_PROGRESS
    assert is_running(child)
    _has_run_a_task(shared, child, JOBS.last_resort_s + 1, monkeypatch)
    supervision.cycle()
    wait_until(lambda: not is_running(child))
    assert look(settled_redis, job).error == overdue_error(JOBS.time_limit_s)
    assert shared.running_job.id() is None
    assert _counts(settled_redis)["replaced:hanging"] == 1
    supervision.child_lost()  # Celery notices the end as well, which is no crash
    supervision.cycle()
    assert "crashes" not in _counts(settled_redis)
    assert waiting(settled_redis) == []


def test_the_job_that_is_stored_costs_no_attempt_where_another_one_ends_the_child(
    settled_redis: RedisSettings, child: int
) -> None:
    shared = SharedMemory()
    supervision = _supervision(settled_redis, shared, child)
    stored, drawn = (submit(settled_redis) for _ in range(2))
    for job in (stored, drawn):
        claimed(settled_redis, job, jobs=JOBS)
    shared.job_storing(stored.id)
    shared.job_started(drawn.id)
    cancel(settled_redis, drawn)

    def has_ended() -> bool:
        supervision.cycle()
        return not is_running(child)

    wait_until(has_ended)
    found = look(settled_redis, stored)
    assert (found.status, found.attempts) == (Status.QUEUED, 0)
    assert look(settled_redis, drawn).status is Status.CANCELLED
    supervision.child_lost()
    assert "crashes" not in _counts(settled_redis)


def test_a_child_that_hangs_while_it_claims_is_ended(
    settled_redis: RedisSettings, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedMemory()
    job = submit(settled_redis)
    _has_run_a_task(shared, child, JOBS.last_resort_s + 1, monkeypatch)
    _supervision(settled_redis, shared, child).cycle()
    wait_until(lambda: not is_running(child))
    assert waiting(settled_redis) == [job.id]


def test_the_time_of_an_earlier_child_does_not_count(
    settled_redis: RedisSettings, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedMemory()
    _has_run_a_task(shared, 2**22 + 1, JOBS.last_resort_s + 1, monkeypatch)
    _supervision(settled_redis, shared, child).cycle()
    assert is_running(child)
    shared.task_clock.stop()
    assert shared.task_clock.has_run_s({2**22 + 1}) == 0


class LookingClaims(Claims):
    """Claims that note whether the task was reported before they were asked."""

    def __init__(self, redis: RedisSettings, shared: SharedMemory) -> None:
        super().__init__(redis, JOBS, "one")
        self.shared = shared
        self.looks: list[bool] = []

    def claim_next(self, graph: str) -> Claim | None:
        self.looks.append(self.shared.task_clock.has_run_s({os.getpid()}) > 0)
        return super().claim_next(graph)


def test_the_clock_runs_from_before_the_claim_to_the_end_of_the_task(redis_settings: RedisSettings) -> None:
    shared = SharedMemory()
    claims = LookingClaims(redis_settings, shared)
    runner = Runner(claims, TinyEngine(), GRAPH, shared, time_limit_s=JOBS.time_limit_s)
    job = submit(redis_settings)
    for _ in range(2):  # the second one finds no job
        runner.run_next()
        assert shared.task_clock.has_run_s({os.getpid()}) == 0
    assert claims.looks == [True, True]
    assert look(redis_settings, job).status is Status.COMPLETED


def test_the_last_resort_leaves_room_for_all_limits() -> None:
    assert JOBS.last_resort_s > JOBS.time_limit_s + JOBS.step_grace_s + JOBS.result_ttl_s


def test_celery_has_no_time_limit_and_delivers_no_running_task_again() -> None:
    """With a limit Celery would keep a timer for each task until the limit is over, also of tasks that have ended."""
    conf = make_celery(Settings(jobs=JOBS, redis=RedisSettings(url="redis://127.0.0.1:1/0"))).conf
    assert (conf.task_time_limit, conf.task_soft_time_limit) == (None, None)
    assert conf.broker_transport_options["visibility_timeout"] > JOBS.last_resort_s
