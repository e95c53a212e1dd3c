"""The end of a worker: its parts, without Celery. The whole is in tests/stack/test_worker_stop.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from config.settings import RedisSettings
from tests.redis_support import wait_until
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    cancel,
    claimed,
    claims_of,
    follow,
    look,
    submit,
    waiting,
)
from tests.workers.process.test_runner import TinyEngine
from workers.jobs.job import Status
from workers.process import drain as drain_module
from workers.process.drain import Drain
from workers.process.orders import Order, Orders
from workers.process.runner import Runner
from workers.process.supervision import is_running


@pytest.fixture
def child() -> Iterator[int]:
    """A process that does nothing, as a child that is lost in C++ does."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


class Ending:
    """A drain whose end does not end the tests."""

    def __init__(self, redis: RedisSettings, child: int, limit_s: float) -> None:
        self.ends, self.orders, self.upkeep = 0, Orders(), Upkeep(redis)
        self.drain = Drain(
            self.upkeep, self.orders, lambda: {child} if is_running(child) else set(), limit_s, self._end
        )

    def _end(self) -> None:
        self.ends += 1

    def look_until(self, condition: Callable[[], object], running: str | None) -> None:
        def looked() -> object:
            self.drain.look(running)
            return condition()

        wait_until(looked)


def test_a_job_that_is_handed_back_has_its_place_and_its_attempts(redis_settings: RedisSettings) -> None:
    job, next_up = submit(redis_settings), submit(redis_settings)
    claims, claim = claims_of(redis_settings), claimed(redis_settings, job)
    claims.progress(claim, 2, 4)
    assert claims.hand_back(claim)
    found = look(redis_settings, job)
    assert (found.status, found.attempts, found.step) == (Status.QUEUED, 0, 0)
    assert waiting(redis_settings) == [job.id, next_up.id]
    assert follow(redis_settings, job)[-1].values == {"queue_position": 0}
    assert not claims.hand_back(claim), "the claim is over"
    assert not claims.complete(claim, [b"late"], {})


def test_another_workers_job_is_not_handed_back(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claims, claim = claims_of(redis_settings, "two"), claimed(redis_settings, job, "two")
    assert Upkeep(redis_settings, "one").hand_back() == []
    assert claims.complete(claim, [b"picture"], {})
    assert not claims.hand_back(claim)
    assert look(redis_settings, job).status is Status.COMPLETED


def test_a_job_that_is_to_be_cancelled_is_not_put_back(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claim = claimed(redis_settings, job)
    cancel(redis_settings, job)
    assert claims_of(redis_settings).hand_back(claim)
    assert look(redis_settings, job).status is Status.CANCELLED
    assert waiting(redis_settings) == []


def test_the_runner_stops_at_the_next_step(redis_settings: RedisSettings) -> None:
    job, orders = submit(redis_settings), Orders()
    engine = TinyEngine(lambda number: orders.give(Order.HAND_BACK) if number == 2 else None)
    Runner(claims_of(redis_settings), engine, GRAPH, order=orders.now).run_next()
    assert (engine.steps, look(redis_settings, job).status) == (2, Status.QUEUED)


def test_a_runner_that_is_to_stop_finishes_but_begins_nothing(redis_settings: RedisSettings) -> None:
    first, second, orders = submit(redis_settings), submit(redis_settings), Orders()
    engine = TinyEngine(lambda number: orders.give(Order.TAKE_NO_MORE))
    runner = Runner(claims_of(redis_settings), engine, GRAPH, order=orders.now)
    runner.run_next()
    runner.run_next()
    assert look(redis_settings, first).status is Status.COMPLETED
    assert waiting(redis_settings) == [second.id]


def test_a_child_that_comes_to_no_step_is_killed_and_its_job_handed_back(
    redis_settings: RedisSettings, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_STEP_GRACE_S", 0.1)
    job = submit(redis_settings)
    claimed(redis_settings, job)
    ending = Ending(redis_settings, child, limit_s=0.1)
    ending.drain.begin()
    assert ending.orders.now() is Order.TAKE_NO_MORE
    ending.look_until(lambda: ending.orders.now() is Order.HAND_BACK, job.id)
    ending.look_until(lambda: ending.ends, job.id)
    assert not is_running(child)
    assert (look(redis_settings, job).status, look(redis_settings, job).attempts) == (Status.QUEUED, 0)
    assert ending.upkeep.sent == [GRAPH], "another worker is woken"


def test_a_child_that_still_loads_is_not_waited_for(redis_settings: RedisSettings, child: int) -> None:
    ending = Ending(redis_settings, child, limit_s=600)
    ending.drain.begin()
    ending.look_until(lambda: ending.ends, None)
    assert not is_running(child)


def test_a_child_that_dies_meanwhile_has_used_up_an_attempt(redis_settings: RedisSettings, child: int) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    ending = Ending(redis_settings, child, limit_s=600)
    ending.drain.begin()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_running(child))
    ending.drain.look(job.id)
    assert ending.ends == 1
    assert look(redis_settings, job).attempts == 1


def test_without_redis_it_ends_all_the_same(child: int) -> None:
    ending = Ending(RedisSettings(url="redis://127.0.0.1:1/0"), child, limit_s=600)
    ending.drain.begin()
    ending.drain.begin()
    ending.drain.look("imgjob_1")
    assert ending.ends == 1
    assert not is_running(child)
