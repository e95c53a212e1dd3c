"""The images of one job are stored while the next one is drawn, and harm no other job where they cannot be."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from config.settings import RedisSettings
from graphs.errors import ServiceUnavailable, StoreFull
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, JOBS, claims_of, client, look, submit
from tests.workers.process.runner_support import TinyEngine, make_runner
from tests.workers.process.test_runner import RecordingReporter
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.process.memory.child_memory import ChildMemory, MemoryReports
from workers.process.runner import Runner
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


def _behind_the_first(settings: RedisSettings, count: int) -> list[Job]:
    """Submit so many jobs behind another one: the first of a process is stored at once."""
    submit(settings)
    return [submit(settings) for _ in range(count)]


def _states(settings: RedisSettings, *jobs: Job) -> list[Status]:
    return [look(settings, job).status for job in jobs]


def test_images_are_stored_while_the_next_job_is_drawn(redis_settings: RedisSettings) -> None:
    first, second = _behind_the_first(redis_settings, 2)
    reporter = RecordingReporter()

    def wait_for_the_next(job_id: str) -> None:
        if job_id == first.id:
            wait_until(lambda: ("drawn", second.id) in reporter.reports, "the next job is drawn")

    make_runner(WatchedClaims(redis_settings, wait_for_the_next), TinyEngine(), reporter).run_waiting()
    assert _states(redis_settings, first, second) == [Status.COMPLETED] * 2
    assert reporter.reports[3:] == [
        *(("started", first.id), ("drawn", first.id), ("storing", first.id), ("ended",)),
        *(("started", second.id), ("drawn", second.id), ("stored",), ("ended",)),
    ]


def test_a_job_that_was_lost_before_is_drawn_with_no_other_in_hand(redis_settings: RedisSettings) -> None:
    first, again, last = _behind_the_first(redis_settings, 3)
    with client(redis_settings) as raw:
        raw.hset(keys.job(again.id), "attempts", 1)
    reporter = _run(redis_settings, lambda _: None)
    assert _states(redis_settings, first, again, last) == [Status.COMPLETED] * 3
    reports = reporter.reports
    assert reports.index(("stored",)) < reports.index(("drawn", again.id))
    assert ("storing", again.id) not in reports


class CountingMemory(ChildMemory):
    """Is past its bound where the images of a job are still being stored, and counts its measurements."""

    def __init__(self, reporter: RecordingReporter) -> None:
        super().__init__(1, 2**40, MemoryReports())
        self._reporter = reporter
        self.measured: list[bool] = []

    def job_ended(self, *, has_drawn: bool) -> None:
        kinds = [report[0] for report in self._reporter.reports]
        self.is_past_bound = kinds.count("storing") > kinds.count("stored")
        self.measured.append(self.is_past_bound)


def test_images_that_are_being_stored_replace_no_child(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(3)]
    reporter = RecordingReporter()
    memory = CountingMemory(reporter)

    def wait_until_measured(job_id: str) -> None:
        if job_id == jobs[1].id:
            wait_until(lambda: memory.measured[-1:] == [True], "the memory is measured meanwhile")

    claims = WatchedClaims(redis_settings, wait_until_measured)
    Runner(claims, TinyEngine(), GRAPH, reporter, time_limit_s=60, memory=memory, looks_for_messages_s=0).run_waiting()
    assert _states(redis_settings, *jobs) == [Status.COMPLETED] * 3
    assert memory.measured == [False, True, False, False], "the first image is stored at once"


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
    first, second = _behind_the_first(redis_settings, 2)

    def fail(job_id: str) -> None:
        if job_id == first.id:
            raise raised

    reporter = _run(redis_settings, fail)
    assert _states(redis_settings, first, second) == [status, Status.COMPLETED]
    assert ("stored",) in reporter.reports


def test_a_worker_that_stops_stores_what_is_drawn(redis_settings: RedisSettings) -> None:
    first, second = _behind_the_first(redis_settings, 2)
    shared = SharedMemory()
    held: list[list[str]] = []

    def look_at_held(_: str) -> None:
        held.append(shared.held_jobs())

    def stop(_: int) -> None:
        if shared.running_job.id() == first.id:
            shared.commands.give(ChildCommand.TAKE_NO_JOBS)

    engine = TinyEngine(stop)
    make_runner(WatchedClaims(redis_settings, look_at_held), engine, shared).run_waiting()
    assert _states(redis_settings, first, second) == [Status.COMPLETED, Status.QUEUED]
    assert [first.id in ids for ids in held] == [False, True]
    assert shared.held_jobs() == []
