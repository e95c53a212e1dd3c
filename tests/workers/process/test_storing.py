"""The images of one job are stored while the next one is drawn, and harm no other job where they cannot be."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable, StoreFull
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import JOBS, claims_of, look, submit
from tests.workers.process.runner_support import TinyEngine, make_runner
from tests.workers.process.test_runner import RecordingReporter
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.process.shared_memory import ChildCommand, SharedMemory


class WatchedClaims(Claims):
    """Calls ``before(job id)`` in the thread that stores, before it stores the images of a job."""

    def __init__(self, settings: RedisSettings, before: Callable[[str], object]) -> None:
        super().__init__(settings, JOBS, "one")
        self._before = before

    def complete(self, claim: Claim, *images_and_times: Any) -> bool:
        self._before(claim.job.id)
        return super().complete(claim, *images_and_times)


def _run(settings: RedisSettings, before: Callable[[str], object]) -> RecordingReporter:
    reporter = RecordingReporter()
    make_runner(WatchedClaims(settings, before), TinyEngine(), reporter).run_waiting()
    return reporter


def _states(settings: RedisSettings, *jobs: Job) -> list[Status]:
    return [look(settings, job).status for job in jobs]


def test_images_are_stored_while_the_next_job_is_drawn(redis_settings: RedisSettings) -> None:
    first, second = (submit(redis_settings) for _ in range(2))
    reporter = RecordingReporter()

    def wait_for_the_next(job_id: str) -> None:
        if job_id == first.id:
            wait_until(lambda: ("drawn", second.id) in reporter.reports, "the next job is drawn")

    make_runner(WatchedClaims(redis_settings, wait_for_the_next), TinyEngine(), reporter).run_waiting()
    assert _states(redis_settings, first, second) == [Status.COMPLETED] * 2
    assert reporter.reports == [
        *(("started", first.id), ("drawn", first.id), ("storing", first.id), ("ended",)),
        *(("started", second.id), ("drawn", second.id), ("stored",), ("ended",)),
    ]


def test_no_more_than_the_images_of_one_job_wait_to_be_stored(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(4)]
    open_now: list[int] = []
    stored = 0

    def count(_: str) -> None:
        nonlocal stored
        drawn = sum(report[0] == "drawn" for report in reporter.reports)
        open_now.append(drawn - stored)
        stored += 1

    reporter = RecordingReporter()
    make_runner(WatchedClaims(redis_settings, count), TinyEngine(), reporter).run_waiting()
    assert _states(redis_settings, *jobs) == [Status.COMPLETED] * 4
    assert max(open_now) <= 2  # one that is stored, and one that is drawn and waits for it


def test_the_images_of_the_last_job_are_stored_before_anything_else(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    threads: list[threading.Thread] = []
    reporter = _run(redis_settings, lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()]
    assert reporter.reports == [("started", job.id), ("drawn", job.id), ("ended",)]


def test_one_job_that_is_asked_for_is_stored_at_once(redis_settings: RedisSettings) -> None:
    first, second = (submit(redis_settings) for _ in range(2))
    assert make_runner(claims_of(redis_settings), TinyEngine()).run_next()
    assert _states(redis_settings, first, second) == [Status.COMPLETED, Status.QUEUED]


@pytest.mark.parametrize(
    ("raised", "status"),
    [(StoreFull(), Status.FAILED), (ServiceUnavailable("Redis is away."), Status.IN_PROGRESS)],
)
def test_a_job_whose_images_cannot_be_stored_harms_no_other(
    redis_settings: RedisSettings, raised: Exception, status: Status
) -> None:
    first, second = (submit(redis_settings) for _ in range(2))

    def fail(job_id: str) -> None:
        if job_id == first.id:
            raise raised

    reporter = _run(redis_settings, fail)
    assert _states(redis_settings, first, second) == [status, Status.COMPLETED]
    assert ("stored",) in reporter.reports


def test_a_worker_that_stops_stores_what_is_drawn(redis_settings: RedisSettings) -> None:
    first, second = (submit(redis_settings) for _ in range(2))
    shared = SharedMemory()
    held: list[list[str]] = []

    def look_at_held(_: str) -> None:
        held.append(shared.held_jobs())

    engine = TinyEngine(lambda _: shared.commands.give(ChildCommand.TAKE_NO_JOBS))
    make_runner(WatchedClaims(redis_settings, look_at_held), engine, shared).run_waiting()
    assert _states(redis_settings, first, second) == [Status.COMPLETED, Status.QUEUED]
    assert [first.id in ids for ids in held] == [True]
    assert shared.held_jobs() == []
