"""What becomes of jobs that meet a trouble, with the request at fault and with the device at fault."""

from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings, WorkerSettings
from graphs.repository.bundled import bundled_model_path
from tests.support.damaged_model import overwrite_largest_constant
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.engine.engine_support import copy_model
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claimed, claims_of, client, look, on_store, submit, waiting
from tests.workers.process.runner_support import make_runner
from tests.workers.process.test_runner import RecordingReporter
from tests.workers.process.worker_process import WorkerProcess, running_worker
from workers.engine.simulated import SimulatedEngine
from workers.engine.simulated_faults import SimulatedDevice, SimulatedFault
from workers.jobs.job import Job, JobError
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.status import Status
from workers.process.device_check import ONE_VALUE_WARNING

JOBS = JobSettings()
MAX_FAULTS = JOBS.max_attempts
_LONG_S = 60
_DEVICE_ERROR = "The device does not draw its test image any more. A job met this first: "


def _run(settings: RedisSettings, job: Job, breaks_after: int | None = None) -> tuple[Job, list[tuple[str, ...]]]:
    """Run the next job on an engine that has just loaded; return the job, and what was reported of troubles."""
    engine = SimulatedEngine(0, device=SimulatedDevice(breaks_after))
    engine.load()
    reporter = RecordingReporter()
    make_runner(claims_of(settings), engine, reporter).run_next()
    return look(settings, job), [
        report for report in reporter.reports if report[0] not in ("started", "drawn", "ended")
    ]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (SimulatedFault.RUNTIME_ERROR, "The runtime failed: this error is simulated."),
        (SimulatedFault.NOT_FINITE, "The model computed infinite numbers: this fault is simulated."),
    ],
)
def test_a_request_at_fault_fails_once_with_its_sentence(
    redis_settings: RedisSettings, fault: SimulatedFault, sentence: str
) -> None:
    found, reports = _run(redis_settings, submit(redis_settings, prompt=f"a fox, {fault}"))
    assert (found.status, found.error) == (Status.FAILED, JobError("generation_failed", sentence))
    assert (found.attempts, found.device_faults) == (1, 0)
    assert reports == [("checked",), ("failed", sentence)]


def test_an_image_of_one_value_stands_with_a_warning(redis_settings: RedisSettings) -> None:
    found, reports = _run(redis_settings, submit(redis_settings, prompt=SimulatedFault.ONE_VALUE))
    assert (found.status, found.warnings, found.artifacts) == (Status.COMPLETED, (ONE_VALUE_WARNING,), 1)
    assert reports == [("checked",)]


def test_a_plain_image_is_an_image(redis_settings: RedisSettings) -> None:
    found, reports = _run(redis_settings, submit(redis_settings, prompt=SimulatedFault.PLAIN))
    assert (found.status, found.warnings) == (Status.COMPLETED, ())
    assert reports == []


@pytest.mark.parametrize("seed", range(3))
def test_a_job_that_met_a_device_at_fault_waits_again_and_the_child_ends(
    redis_settings: RedisSettings, seed: int
) -> None:
    job = submit(redis_settings, rng_seed=seed)
    found, reports = _run(redis_settings, job, breaks_after=0)
    assert (found.status, found.attempts, found.device_faults) == (Status.QUEUED, 1, 1)
    assert waiting(redis_settings) == [job.id]
    (checked, failed, ended) = reports
    assert checked == ("checked",)
    assert failed[1].startswith(_DEVICE_ERROR)
    assert ended == ("child ends", "device", failed[1], "True")

    found, reports = _run(redis_settings, job)
    assert (found.status, found.attempts, reports) == (Status.COMPLETED, 2, [])


def test_devices_that_fail_again_and_again_fail_the_job_with_what_to_do(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    for _ in range(MAX_FAULTS):
        found, _ = _run(redis_settings, job, breaks_after=0)
    assert (found.status, found.attempts, found.device_faults) == (Status.FAILED, MAX_FAULTS, MAX_FAULTS)
    assert found.error is not None
    assert found.error.code == "device_failed"
    assert "A smaller size may be drawn." in found.error.message
    assert "INFERENCE_PRECISION_HINT" in found.error.message


def test_faults_of_devices_do_not_make_a_job_poisonous(settled_redis: RedisSettings) -> None:
    """The workers of this job die as often as they may, less one, and its devices too."""
    job = submit(settled_redis)
    for _ in range(MAX_FAULTS - 1):
        _run(settled_redis, job, breaks_after=0)
    for _ in range(JOBS.max_attempts - 1):
        claimed(settled_redis, job)
        _lose(settled_redis, job)
    found, _ = _run(settled_redis, job)
    assert (found.status, found.attempts) == (Status.COMPLETED, MAX_FAULTS + JOBS.max_attempts - 1)


def _lose(settings: RedisSettings, job: Job) -> None:
    with client(settings) as behind:
        behind.zadd(keys.running(GRAPH), {job.id: 0})
    assert Upkeep(settings).reap() == [job.id]


def _counts(settings: RedisSettings, beginning: str) -> int:
    with client(settings) as behind:
        counts = behind.hgetall(keys.metrics(GRAPH))
    return sum(int(value) for field, value in counts.items() if str(field).startswith(beginning))


def _state(settings: RedisSettings, worker: WorkerProcess) -> WorkerPresence:
    """Return the heartbeat of this worker; those of earlier tests count for a while."""
    (found,) = (
        one for one in on_store(settings, lambda store: store.workers()) if f"/{worker.process.pid}/" in one.name
    )
    return found


def _simulated(breaks_after: int) -> WorkerSettings:
    return WorkerSettings(engine="simulated", simulated_step_s=0.01, simulated_breaks_after=breaks_after)


@pytest.mark.usefixtures("processes")
def test_every_death_of_a_child_is_a_device_at_fault_and_no_job_is_lost(
    redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """The device of each child draws three requests. The log names each death, without tracebacks of Celery's."""
    settings = redis_settings
    log = tmp_path / "log"
    before = {kind: _counts(settings, kind) for kind in ("replaced:device", "device_faults:", "crashes")}

    def new(kind: str) -> int:
        return _counts(settings, kind) - before[kind]

    with running_worker(settings, log, JOBS, worker=_simulated(breaks_after=3)) as worker:
        jobs = [submit(settings, rng_seed=seed) for seed in range(10)]
        for _ in jobs:
            worker.wake()
        wait_until(lambda: all(look(settings, job).status.is_final for job in jobs), deadline_s=_LONG_S)
        wait_until(lambda: new("replaced:device") == 3, deadline_s=_LONG_S)
        found = [look(settings, job) for job in jobs]
        assert {job.status for job in found} == {Status.COMPLETED}
        assert sum(job.device_faults for job in found) == new("device_faults:") == 3
        assert new("crashes") == 0
        last = _state(settings, worker)
        assert last.last_error is not None
        assert last.last_error.startswith(_DEVICE_ERROR)
    text = log.read_text()
    assert text.count("WorkerLostError") == 3
    assert "Traceback" not in text


@pytest.mark.usefixtures("processes")
def test_a_worker_whose_fresh_children_fail_is_not_ready_and_takes_no_jobs(
    redis_settings: RedisSettings, tmp_path: Path
) -> None:
    settings = redis_settings
    with running_worker(settings, tmp_path / "log", JOBS, worker=_simulated(breaks_after=0)) as worker:
        job = submit(settings)
        worker.wake()
        wait_until(lambda: _state(settings, worker).stage == "resting", deadline_s=_LONG_S)
        found = _state(settings, worker)
        assert not found.ready
        assert found.last_error is not None
        assert found.last_error.startswith(
            "2 fresh processes in a row failed on this device, so this worker is not ready."
        )
        assert "INFERENCE_PRECISION_HINT" in found.last_error
        assert (look(settings, job).status, look(settings, job).device_faults) == (Status.QUEUED, 2)
        worker.wake()
        wait_until(lambda: worker.process.poll() is None and _state(settings, worker).stage == "resting")
        assert waiting(settings) == [job.id]


@pytest.mark.thorough
@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_a_real_model_that_is_damaged_while_it_is_served(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """The first child met it while it drew, the next ones while they loaded the model."""
    settings = redis_settings
    model = copy_model(bundled_model_path(), tmp_path)
    with running_worker(settings, tmp_path / "log", JOBS, worker=WorkerSettings(), model=model) as worker:
        good = submit(settings, width=64, height=64)
        worker.wake()
        wait_until(lambda: look(settings, good).status is Status.COMPLETED, deadline_s=_LONG_S)
        overwrite_largest_constant(model / "text_encoder", 0xFF)
        job = submit(settings, width=64, height=64)
        worker.wake()
        wait_until(lambda: _state(settings, worker).stage == "resting", deadline_s=_LONG_S)
        found = _state(settings, worker)
        assert not found.ready
        assert found.last_error is not None
        expected = "cannot draw a test image of 64x64 on CPU. The model computed numbers that are infinite"
        assert expected in found.last_error
        assert (look(settings, job).status, look(settings, job).device_faults) == (Status.QUEUED, 1)
