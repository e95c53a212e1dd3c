"""The shutdown of a worker without Celery. tests/stack/test_worker_stop.py stops whole workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from config.settings import RedisSettings
from tests.support.polling import wait_until
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
from tests.workers.process.runner_support import TinyEngine, make_runner
from workers.jobs.status import Status
from workers.process import drain as drain_module
from workers.process.child_processes import is_running
from workers.process.drain import WorkerDrain
from workers.process.shared_memory import ChildCommand, ChildCommands, SharedMemory


@pytest.fixture
def child(processes: None) -> Iterator[int]:
    """The pid of a process that does nothing, like a child that hangs inside C++ code."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


class Shutdown:
    """A drain of one child that counts its calls of ``end`` instead of ending the test process."""

    def __init__(self, redis: RedisSettings, child: int, limit_s: float) -> None:
        self.ends = 0
        self.commands = ChildCommands()
        self.upkeep = Upkeep(redis)
        self.drain = WorkerDrain(
            self.upkeep, self.commands, lambda: {child} if is_running(child) else set(), limit_s, self._end
        )

    def _end(self) -> None:
        self.ends += 1

    def cycle_until(self, condition: Callable[[], object], running: str | None) -> None:
        """Repeat the drain's cycle until the condition holds."""

        def cycled() -> object:
            self.drain.cycle([running] if running else [])
            return condition()

        wait_until(cycled)


def test_a_job_that_is_handed_back_keeps_its_place_and_its_attempts(redis_settings: RedisSettings) -> None:
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
    assert Upkeep(redis_settings, "one").hand_back([job.id]) == []
    assert claims.complete(claim, [b"image"], {})
    assert not claims.hand_back(claim)
    assert look(redis_settings, job).status is Status.COMPLETED


def test_a_job_that_a_dead_child_had_not_reported_yet_is_handed_back_too(redis_settings: RedisSettings) -> None:
    stored, unreported, other = (submit(redis_settings) for _ in range(3))
    claimed(redis_settings, stored)
    claimed(redis_settings, unreported)
    claimed(redis_settings, other, "two")
    assert Upkeep(redis_settings, "one").hand_back([stored.id]) == [stored.id, unreported.id]
    assert waiting(redis_settings) == [stored.id, unreported.id]
    assert look(redis_settings, other).status is Status.IN_PROGRESS


def test_a_job_being_cancelled_is_not_put_back_into_the_queue(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claim = claimed(redis_settings, job)
    cancel(redis_settings, job)
    assert claims_of(redis_settings).hand_back(claim)
    assert look(redis_settings, job).status is Status.CANCELLED
    assert waiting(redis_settings) == []


def test_the_runner_hands_its_job_back_at_the_next_step(redis_settings: RedisSettings) -> None:
    job, shared = submit(redis_settings), SharedMemory()
    engine = TinyEngine(lambda number: shared.commands.give(ChildCommand.HAND_BACK) if number == 2 else None)
    make_runner(claims_of(redis_settings), engine, shared).run_next()
    assert (engine.steps, look(redis_settings, job).status) == (2, Status.QUEUED)


def test_a_stopping_runner_completes_its_job_but_claims_no_other(redis_settings: RedisSettings) -> None:
    first, second, shared = submit(redis_settings), submit(redis_settings), SharedMemory()
    engine = TinyEngine(lambda number: shared.commands.give(ChildCommand.TAKE_NO_JOBS))
    runner = make_runner(claims_of(redis_settings), engine, shared)
    runner.run_next()
    runner.run_next()
    assert look(redis_settings, first).status is Status.COMPLETED
    assert waiting(redis_settings) == [second.id]


def test_a_child_that_reaches_no_step_is_killed_and_its_job_handed_back(
    redis_settings: RedisSettings, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "_STEP_GRACE_S", 0.1)
    job = submit(redis_settings)
    claimed(redis_settings, job)
    shutdown = Shutdown(redis_settings, child, limit_s=0.1)
    shutdown.drain.begin()
    assert shutdown.commands.current() is ChildCommand.TAKE_NO_JOBS
    shutdown.cycle_until(lambda: shutdown.commands.current() is ChildCommand.HAND_BACK, job.id)
    shutdown.cycle_until(lambda: shutdown.ends, job.id)
    assert not is_running(child)
    assert (look(redis_settings, job).status, look(redis_settings, job).attempts) == (Status.QUEUED, 0)
    assert shutdown.upkeep.sent == [GRAPH], "another worker is woken"


def test_the_drain_does_not_wait_for_a_child_that_loads_its_model(redis_settings: RedisSettings, child: int) -> None:
    shutdown = Shutdown(redis_settings, child, limit_s=600)
    shutdown.drain.begin()
    shutdown.cycle_until(lambda: shutdown.ends, None)
    assert not is_running(child)


def test_a_child_that_dies_during_the_drain_has_used_an_attempt(redis_settings: RedisSettings, child: int) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job)
    shutdown = Shutdown(redis_settings, child, limit_s=600)
    shutdown.drain.begin()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_running(child))
    shutdown.drain.cycle([job.id])
    assert shutdown.ends == 1
    assert look(redis_settings, job).attempts == 1


def test_the_drain_ends_without_redis(child: int) -> None:
    shutdown = Shutdown(RedisSettings(url="redis://127.0.0.1:1/0"), child, limit_s=600)
    shutdown.drain.begin()
    shutdown.drain.begin()
    shutdown.drain.cycle(["imgjob_1"])
    assert shutdown.ends == 1
    assert not is_running(child)
