"""A worker that is stopped: its running job is finished or back in its place, and the process ends with 0."""

import os
import signal
from pathlib import Path

from config.settings import RedisSettings
from tests.stack.worker_support import Process, a_worker, ready_workers, wake
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import follow, look, submit, waiting
from workers.jobs.job import Job
from workers.jobs.status import Status


def _running(redis: RedisSettings, job: Job) -> None:
    """Wait until a worker draws it."""
    wake(redis)
    wait_until(lambda: (look(redis, job).step or 0) >= 2, deadline_s=60)


def test_an_idle_worker_leaves(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with a_worker(redis_settings, tmp_path) as worker:
        worker.send(signal.SIGINT)
        assert worker.code() == 0
    assert ready_workers(redis_settings) == 0
    assert "Traceback" not in worker.log.read_text()


def test_the_running_job_is_finished_and_no_other_begun(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with a_worker(redis_settings, tmp_path, step_s=0.05) as worker:
        running, next_up = submit(redis_settings, num_inference_steps=30), submit(redis_settings)
        _running(redis_settings, running)
        wake(redis_settings)
        worker.send_to_all(signal.SIGTERM)  # the child must not mind it
        assert worker.code() == 0
    done = look(redis_settings, running)
    assert (done.status, done.attempts) == (Status.COMPLETED, 1)
    assert waiting(redis_settings) == [next_up.id]
    assert look(redis_settings, next_up).attempts == 0


def test_a_long_job_is_handed_back_and_another_worker_does_it(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with a_worker(redis_settings, tmp_path, step_s=0.05, limit_s=1) as old:
        long, next_up = submit(redis_settings, num_inference_steps=500), submit(redis_settings)
        _running(redis_settings, long)
        old.send()
        assert old.code() == 0
    assert "Traceback" not in old.log.read_text()
    handed_back = look(redis_settings, long)
    assert (handed_back.status, handed_back.attempts, handed_back.step) == (Status.QUEUED, 0, 0)
    assert waiting(redis_settings) == [long.id, next_up.id]
    with a_worker(redis_settings, tmp_path, step_s=0.0):  # the messages are there already
        wait_until(lambda: look(redis_settings, next_up).status is Status.COMPLETED, deadline_s=60)
    assert (look(redis_settings, long).status, look(redis_settings, long).attempts) == (Status.COMPLETED, 1)
    kinds = [event.kind for event in follow(redis_settings, long) if event.kind != "progress"]
    assert kinds == ["queued", "in_progress", "queued", "in_progress", "completed"]


def test_a_second_signal_ends_it_at_once_even_if_its_child_hangs(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with a_worker(redis_settings, tmp_path, step_s=0.05) as worker:
        job = submit(redis_settings, num_inference_steps=10_000)
        _running(redis_settings, job)
        (child,) = worker.children()
        os.kill(child, signal.SIGSTOP)  # it answers as little as one that is lost in C++
        _send_two_signals(worker, redis_settings)
        assert worker.code() == 0
    assert (look(redis_settings, job).status, look(redis_settings, job).attempts) == (Status.QUEUED, 0)
    wait_until(lambda: not Path(f"/proc/{child}").exists())


def _send_two_signals(worker: Process, redis: RedisSettings) -> None:
    worker.send()
    wait_until(lambda: ready_workers(redis) == 0, deadline_s=60)
    worker.send()
