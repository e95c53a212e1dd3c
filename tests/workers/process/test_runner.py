"""The runner on a real Redis: the steps, previews and endings of one job."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config.settings import RedisSettings
from graphs.errors import EngineError
from tests.support.redis_keys import keys
from tests.support.redis_server import running_redis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    a_request,
    cancel,
    claims_of,
    client,
    erase,
    follow,
    look,
    put_in,
    submit,
)
from tests.workers.process.runner_support import TinyEngine, make_runner
from workers.engine.protocol import Engine
from workers.engine.simulated import SimulatedEngine
from workers.jobs.job import Job, JobError
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status
from workers.jobs.store import Submission
from workers.process.child_reports import ChildEnd
from workers.process.runner import Runner
from workers.process.shared_memory import ChildCommand, SharedMemory


class RecordingReporter:
    """Keeps what the runner reports of its jobs."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, ...]] = []
        self.seconds: Mapping[str, float] = {}

    def task_started(self) -> None:
        pass

    def task_ended(self) -> None:
        pass

    def job_started(self, job_id: str) -> None:
        self.reports.append(("started", job_id))

    def job_drawn(self, job_id: str) -> None:
        self.reports.append(("drawn", job_id))

    def stages_took(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds

    def device_checked(self) -> None:
        self.reports.append(("checked",))

    def job_failed(self, error: str) -> None:
        self.reports.append(("failed", error))

    def job_storing(self, job_id: str) -> None:
        self.reports.append(("storing", job_id))

    def job_stored(self) -> None:
        self.reports.append(("stored",))

    def job_ended(self) -> None:
        self.reports.append(("ended",))

    def end_child(self, end: ChildEnd) -> None:
        self.reports.append(("child ends", end.reason, end.error, str(end.is_fresh)))

    def command(self) -> ChildCommand:
        return ChildCommand.CONTINUE


def _run(settings: RedisSettings, engine: Engine | None = None) -> None:
    make_runner(claims_of(settings), engine or TinyEngine()).run_next()


def _job(settings: RedisSettings, deadline: float | None = None, previews: int = 0, **changed: Any) -> Job:
    options = JobOptions(deadline=deadline, previews=previews)
    return put_in(settings, Submission(a_request(**changed), options=options))[0]


def test_a_job_is_drawn_step_by_step(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings, num_images_per_prompt=2)
    _run(redis_settings, SimulatedEngine(0))
    done = look(redis_settings, job)
    assert (done.status, done.artifacts, done.step, done.total_steps) == (Status.COMPLETED, 2, 8, 8)
    kinds = [event.kind for event in follow(redis_settings, job)]
    assert kinds == ["queued", "in_progress", *["progress"] * 8, "completed"]


def test_without_a_job_nothing_is_reported(redis_settings: RedisSettings) -> None:
    reporter = RecordingReporter()
    make_runner(claims_of(redis_settings), TinyEngine(), reporter).run_next()
    assert reporter.reports == []


def test_the_start_and_the_end_of_every_job_are_reported(redis_settings: RedisSettings) -> None:
    reporter = RecordingReporter()
    first, second = (submit(redis_settings).id for _ in range(2))
    runner = make_runner(claims_of(redis_settings), TinyEngine(), reporter)
    for _ in range(3):
        runner.run_next()
    assert reporter.reports == [
        *(("started", first), ("drawn", first), ("ended",)),
        *(("started", second), ("drawn", second), ("ended",)),
    ]
    assert {"prepare", "encode", "store"} <= reporter.seconds.keys()
    assert all(value >= 0 for value in reporter.seconds.values())


@pytest.mark.parametrize(
    ("steps", "wanted", "at"),
    [
        (20, 3, [5, 10, 15]),
        (20, 1, [10]),
        (4, 3, [1, 2, 3]),
        (3, 3, [1, 2]),
        (2, 3, [1]),
        (1, 3, []),
        (4, 0, []),
        (10, 2, [3, 7]),
    ],
)
def test_previews_are_evenly_spaced_and_never_the_last_step(
    redis_settings: RedisSettings, steps: int, wanted: int, at: list[int]
) -> None:
    job = _job(redis_settings, previews=wanted, num_inference_steps=steps)
    _run(redis_settings)
    events, step, found = follow(redis_settings, job), 0, []
    for event in events:
        step = event.values["step"] if event.kind == "progress" else step
        if event.kind == "preview":
            assert event.preview is not None
            assert event.preview.startswith(b"\x89PNG")
            found.append((step, event.values["partial_image_index"]))
    assert found == list(zip(at, range(len(at)), strict=True))


def test_every_image_of_a_job_has_its_previews(redis_settings: RedisSettings) -> None:
    job = _job(redis_settings, previews=2, num_images_per_prompt=3, num_inference_steps=6)
    _run(redis_settings)
    previews = [event.values for event in follow(redis_settings, job) if event.kind == "preview"]
    found = [(values["image_index"], values["partial_image_index"]) for values in previews]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_quick_steps_are_not_recorded_one_by_one_and_the_last_is_known(redis_settings: RedisSettings) -> None:
    job = _job(redis_settings, num_inference_steps=50, previews=1)
    runner = Runner(
        claims_of(redis_settings), TinyEngine(), GRAPH, SharedMemory(), time_limit_s=60, progress_every_s=30
    )
    assert runner.run_next()
    kinds = [event.kind for event in follow(redis_settings, job)]
    assert kinds == ["queued", "in_progress", "progress", "preview", "completed"]
    done = look(redis_settings, job)
    assert (done.step, done.total_steps) == (50, 50)


def test_one_message_runs_all_jobs_that_wait(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(3)]
    make_runner(claims_of(redis_settings), TinyEngine()).run_waiting()
    assert [look(redis_settings, job).status for job in jobs] == [Status.COMPLETED] * 3


class CommandedReporter(RecordingReporter):
    """Gives the commands in turn, and the last one from then on."""

    def __init__(self, *commands: ChildCommand) -> None:
        super().__init__()
        self._commands = list(commands)

    def command(self) -> ChildCommand:
        return self._commands.pop(0) if len(self._commands) > 1 else self._commands[0]


@pytest.mark.parametrize("stops", [True, False])
def test_a_child_without_a_job_takes_a_message_itself_and_gives_it_back_where_it_must_stop(
    redis_settings: RedisSettings, stops: bool
) -> None:
    go, stop = ChildCommand.CONTINUE, ChildCommand.TAKE_NO_JOBS
    # It looks for a job, waits, has the message, and looks again.
    reporter = CommandedReporter(go, go, *([stop] if stops else [go, go, stop]))
    with client(redis_settings) as raw:
        raw.lpush(keys.messages(GRAPH), "a message")
        runner = Runner(claims_of(redis_settings), TinyEngine(), GRAPH, reporter, time_limit_s=60)
        runner.run_waiting()
        assert raw.lrange(keys.messages(GRAPH), 0, -1) == (["a message"] if stops else [])


def test_a_worker_that_stops_takes_no_further_job(redis_settings: RedisSettings) -> None:
    first, second = (submit(redis_settings) for _ in range(2))
    shared = SharedMemory()
    engine = TinyEngine(lambda _: shared.commands.give(ChildCommand.TAKE_NO_JOBS))
    make_runner(claims_of(redis_settings), engine, shared).run_waiting()
    assert [look(redis_settings, job).status for job in (first, second)] == [Status.COMPLETED, Status.QUEUED]


def test_previews_of_the_simulated_engine_end_no_job(redis_settings: RedisSettings) -> None:
    job = _job(redis_settings, previews=3)
    _run(redis_settings, SimulatedEngine(0))
    assert look(redis_settings, job).status is Status.COMPLETED


def test_a_running_job_is_cancelled_within_a_step(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    engine = TinyEngine(lambda number: number == 2 and cancel(redis_settings, job))
    _run(redis_settings, engine)
    over = look(redis_settings, job)
    assert (over.status, over.error, engine.steps) == (Status.CANCELLED, None, 2)


def test_a_deadline_ends_a_running_job(redis_settings: RedisSettings) -> None:
    job = _job(redis_settings, deadline=time.time() + 0.5, num_inference_steps=1000)
    _run(redis_settings, SimulatedEngine(0.02))
    over = look(redis_settings, job)
    assert (over.status, over.error and over.error.code) == (Status.CANCELLED, "deadline_exceeded")
    assert 0 < (over.step or 0) < 1000


def test_a_job_erased_while_it_runs_leaves_nothing(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    engine = TinyEngine(lambda number: erase(redis_settings, job) if number == 2 else None)
    _run(redis_settings, engine)
    assert engine.steps == 2
    assert follow(redis_settings, job) == []


@pytest.mark.parametrize(
    ("raised", "code"), [(EngineError("No memory."), "generation_failed"), (KeyError("x"), "internal_error")]
)
def test_an_exception_of_the_engine_fails_the_job(redis_settings: RedisSettings, raised: Exception, code: str) -> None:
    def fail(_: int) -> None:
        raise raised

    job = submit(redis_settings)
    _run(redis_settings, TinyEngine(fail))
    over = look(redis_settings, job)
    assert over.status is Status.FAILED
    assert over.error in (
        JobError(code, "No memory."),
        JobError(code, "The server failed while it drew the image."),
    )


@pytest.mark.usefixtures("redis_processes")
def test_redis_may_be_away_during_a_step(tmp_path: Path) -> None:
    with running_redis(tmp_path) as own:
        job = submit(own.settings)

        def pause_redis(number: int) -> None:
            if number == 2:
                with own.client() as behind:
                    behind.execute_command("CLIENT", "PAUSE", 1500)

        quick = own.settings.model_copy(update={"timeout_s": 0.3})
        make_runner(claims_of(quick), TinyEngine(pause_redis)).run_next()
        done = look(own.settings, job)
    assert done.status is Status.COMPLETED
    assert [done.artifacts, done.attempts] == [1, 1]
