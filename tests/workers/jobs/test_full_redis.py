"""A Redis at its maxmemory: new jobs are refused, accepted jobs continue, and no finished image is lost."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from config.settings import JobSettings, RedisSettings
from graphs.errors import StoreFull
from tests.api.api_support import error_of, serving, settings_for
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    a_request,
    cancel,
    claimed,
    claims_of,
    client,
    erase,
    follow,
    look,
    on_store,
    put_in,
    submit,
    waiting,
)
from tests.workers.process.runner_support import make_runner
from tests.workers.process.worker_process import WorkerProcess, running_worker
from workers.engine.simulated import SimulatedEngine
from workers.jobs.claims import Preview
from workers.jobs.job import Job, JobError
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, Submission

_MAX_MEMORY = 32 * 2**20
_LONG_S = 60
IMAGE = b"p" * 100_000


@pytest.fixture(scope="module")
def small_server(redis_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("small"), _MAX_MEMORY) as running:
        yield running


@pytest.fixture
def small(small_server: RunningRedis) -> RedisSettings:
    """The small server, which holds only some megabytes."""
    with small_server.client() as raw:
        # By default Valkey frees memory in the background, which would change the figures measured afterwards.
        raw.execute_command("FLUSHALL", "SYNC")
        raw.config_set("maxmemory", _MAX_MEMORY)
        raw.set("ballast", b"x" * 8 * 2**20)
    return small_server.settings


def _fill(settings: RedisSettings) -> None:
    """Set the limit a megabyte below the used memory: opened and closed connections change it by some kilobytes."""
    with client(settings) as raw:
        memory = raw.info("memory")
        # The buffer of the append-only file takes memory for a moment and does not count.
        counted = int(memory["used_memory"]) - int(memory["mem_not_counted_for_evict"])
        raw.config_set("maxmemory", counted - 2**20)


def _make_room(settings: RedisSettings) -> None:
    with client(settings) as raw:
        raw.config_set("maxmemory", _MAX_MEMORY)


def _artifacts(settings: RedisSettings, job: Job) -> list[bytes]:
    found = look(settings, job)
    return on_store(settings, lambda store: store.artifacts(found))


def test_a_submission_is_refused_and_stores_nothing(small: RedisSettings) -> None:
    submit(small)
    _fill(small)
    with client(small) as raw:
        before = set(raw.keys())
    for submission in (Submission(a_request()), Submission(a_request(), image=b"x" * 10**6)):
        with pytest.raises(StoreFull, match="maxmemory"):
            put_in(small, submission)
    with client(small) as raw:
        assert set(raw.keys()) == before
    assert len(waiting(small)) == 1


def test_the_refusal_names_what_fills_redis(small: RedisSettings) -> None:
    _fill(small)
    with pytest.raises(StoreFull) as refusal:
        submit(small)
    assert re.fullmatch(
        r"The job store \(Redis\) is full: it uses [\d.]+ MiB, and its maxmemory is [\d.]+ MiB\. Jobs that have not "
        r"ended take 0\.0 MiB of that, and no ended job is left to make room\. .*; room comes as jobs end\.",
        refusal.value.message,
    )


def test_a_submission_to_an_idle_graph_is_refused_as_well(small: RedisSettings) -> None:
    """When no job waits, the script first deletes keys, which a full Redis allows."""
    _fill(small)
    with pytest.raises(StoreFull):
        submit(small)
    _make_room(small)
    assert submit(small).status is Status.QUEUED


def test_a_repeated_request_joins_its_job(small: RedisSettings) -> None:
    submission = Submission(a_request(), idempotency=Idempotency("key:x", "digest", 100, "always"))
    job, _ = put_in(small, submission)
    _fill(small)
    assert put_in(small, submission) == (job, False)


def test_jobs_go_on(small: RedisSettings) -> None:
    cancelled, erased, failed, completed, edited = (submit(small, image) for image in (b"", b"", b"", b"", IMAGE))
    waits = submit(small)
    _fill(small)
    claims = claims_of(small)
    assert cancel(small, cancelled).status is Status.CANCELLED
    erase(small, erased)
    assert claims.fail(claimed(small, failed), JobError("generation_failed", "It went wrong."))
    claim = claimed(small, completed)
    assert claims.progress(claim, 1, 4, Preview(0, 0, IMAGE)) == "go on"
    assert [event.kind for event in follow(small, completed)] == ["queued", "in_progress", "progress"]
    upkeep = Upkeep(small)
    upkeep.renew_lease(completed.id)
    upkeep.heartbeat(WorkerPresence("w", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0))
    assert [worker.name for worker in on_store(small, lambda store: store.workers())] == ["w"]
    # The deleted input image of an edit is larger than its artifact.
    assert claims.complete(claimed(small, edited), [IMAGE[:-1]], {})
    assert _artifacts(small, edited) == [IMAGE[:-1]]
    assert on_store(small, lambda store: store.add_waiter(waits, 1)) == 2
    claimed(small, waits)
    upkeep.end_lease(waits.id)
    cancel(small, completed)
    assert claims.progress(claim, 2, 4) == "cancel"


def test_a_lost_job_is_requeued(small: RedisSettings) -> None:
    job = submit(small, b"image")
    claimed(small, job)
    with client(small) as raw:
        wait_until(lambda: raw.info("server")["uptime_in_seconds"] > 4)
    _fill(small)
    upkeep = Upkeep(small)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == [job.id]
    assert claimed(small, job).job.attempts == 2


def test_an_artifact_waits_for_room(small: RedisSettings) -> None:
    job = submit(small)
    claim, claims = claimed(small, job), claims_of(small)
    _fill(small)
    stored: list[bool] = []
    storing = threading.Thread(target=lambda: stored.append(claims.complete(claim, [IMAGE], {})))
    storing.start()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 1.5)
    assert (stored, look(small, job).status) == ([], Status.IN_PROGRESS)
    _make_room(small)
    storing.join(20)
    assert stored == [True]
    assert _artifacts(small, job) == [IMAGE]


def test_the_artifact_of_a_cancelled_job_does_not_wait(small: RedisSettings) -> None:
    job = submit(small)
    claim = claimed(small, job)
    cancel(small, job)
    _fill(small)
    assert claims_of(small).complete(claim, [IMAGE], {})
    assert look(small, job).status is Status.CANCELLED
    _make_room(small)


def test_the_api_refuses_at_once(small: RedisSettings) -> None:
    with serving(settings_for(small)) as api:
        job = api.submitted()
        _fill(small)
        for path in ("/v3/images/generations", "/v1/images/jobs"):
            began = time.monotonic()
            answer = api.http.post(path, json={"prompt": "a red circle"})
            assert time.monotonic() - began < 3
            error = error_of(answer, 503)
            assert error["code"] == "store_full"
            assert answer.headers["retry-after"] == "30"
        assert api.http.post(f"/v3/images/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
        assert api.http.get("/v3/images/jobs").status_code == 200
        assert api.http.get("/v3/models").status_code == 200
        _make_room(small)
        assert api.submitted()["status"] == "queued"


@pytest.fixture(scope="module")
def worker(small_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    _make_room(small_server.settings)
    log = tmp_path_factory.mktemp("worker") / "log"
    with running_worker(small_server.settings, log, JobSettings(lease_s=1.5)) as running:
        yield running


def test_a_worker_keeps_a_finished_image(small_server: RunningRedis, worker: WorkerProcess) -> None:
    settings = small_server.settings
    job, following = submit(settings, num_inference_steps=40), submit(settings)
    worker.wake()
    worker.wake()
    wait_until(lambda: (look(settings, job).step or 0) >= 1, deadline_s=_LONG_S)
    _fill(settings)
    wait_until(lambda: "wait for room" in worker.log.read_text(), deadline_s=_LONG_S)
    assert (look(settings, job).step, look(settings, job).status) == (40, Status.IN_PROGRESS)
    _make_room(settings)
    wait_until(lambda: look(settings, following).status is Status.COMPLETED, deadline_s=_LONG_S)
    assert (look(settings, job).status, look(settings, job).attempts) == (Status.COMPLETED, 1)
    assert _artifacts(settings, job)
    assert worker.is_ready()


def test_a_message_in_a_full_redis_ends_no_worker(small_server: RunningRedis, worker: WorkerProcess) -> None:
    """Celery records each message that it receives; when Redis refuses that, it would exit by default."""
    settings = small_server.settings
    with small_server.client() as raw:  # the child has taken messages itself until then
        wait_until(lambda: raw.hlen(f"{keys.celery_prefix}:unacked") == 0)
    os.kill(worker.process.pid, signal.SIGSTOP)
    job = submit(settings)
    worker.wake()
    _fill(settings)
    os.kill(worker.process.pid, signal.SIGCONT)
    wait_until(lambda: "OutOfMemoryError" in worker.log.read_text(), deadline_s=_LONG_S)
    assert look(settings, job).status is Status.QUEUED
    _make_room(settings)
    wait_until(lambda: look(settings, job).status is Status.COMPLETED, deadline_s=_LONG_S)
    assert worker.is_ready()


def test_a_job_fails_when_its_artifact_waited_too_long_for_room(
    small: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.jobs.claims._ROOM_MARGIN_S", 0.0)
    job = submit(small)
    _fill(small)
    make_runner(claims_of(small, jobs=JobSettings(result_ttl_s=1)), SimulatedEngine(0)).run_next()
    error = look(small, job).error
    assert error
    assert error.code == "store_full"
    assert error.message.startswith("The image could not be kept. The job store (Redis) is full")
    _make_room(small)
