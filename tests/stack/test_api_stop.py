"""An API process that is stopped: waiting requests are answered, new ones get a time to come again."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.settings import RedisSettings
from tests.api.api_support import PNG
from tests.stack.worker_support import Process, an_api
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import claimed, claims_of, client, look, on_store, waiting
from workers.jobs.job import Job
from workers.jobs.status import Status

GENERATIONS, READY = "/v3/images/generations", "/v2/health/ready"
BODY: dict[str, Any] = {"prompt": "a red circle"}


class Api:
    """An API process; the worker's part is done by hand."""

    def __init__(self, process: Process, http: httpx2.Client, redis: RedisSettings) -> None:
        self.process, self.http, self.redis = process, http, redis
        self.url = str(http.base_url)
        self.answers: list[httpx2.Response] = []

    @contextmanager
    def asking(self, **request: Any) -> Iterator[Job]:
        """Ask in the background, on a connection of its own; the answer is there after the block."""

        def ask() -> None:
            self.answers.append(httpx2.post(f"{self.url}{GENERATIONS}", timeout=60, **{"json": BODY, **request}))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: waiting(self.redis))
        yield self.only_job()
        thread.join(60)
        assert self.answers

    def only_job(self) -> Job:
        (job_id,) = waiting(self.redis)
        return on_store(self.redis, lambda store: store.get(job_id, None))

    def draw(self, job: Job) -> None:
        assert claims_of(self.redis).complete(claimed(self.redis, job), [PNG], {})

    def drain(self) -> None:
        """Tell it to stop, and wait until it has heard it."""
        self.process.send()
        wait_until(lambda: self.http.get(READY).json().get("error", {}).get("code") == "shutting_down")


@contextmanager
def _api(redis: RedisSettings, folder: Path, limit_s: int = 30) -> Iterator[Api]:
    port = free_port()
    with (
        an_api(redis, folder, port, IMAGEGEN_HTTP__SHUTDOWN_TIMEOUT_S=str(limit_s)) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        yield Api(process, http, redis)


def _waiters(redis: RedisSettings, job: Job) -> str:
    with client(redis) as behind:
        return str(behind.hget(keys.job(job.id), "waiters"))


def test_waiting_requests_are_answered_and_new_ones_get_a_retry_after(
    redis_settings: RedisSettings, tmp_path: Path
) -> None:
    with _api(redis_settings, tmp_path) as api, httpx2.Client(base_url=api.url) as idle:
        idle.get(READY)  # a kept connection holds nothing up
        with api.asking() as job:
            api.drain()
            refused = api.http.post(GENERATIONS, json=BODY)
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert 30 < int(refused.headers["retry-after"]) <= 35
            assert "shutting down" in refused.json()["error"]["message"]
            assert api.http.get("/v2/health/live").status_code == 200
            assert api.http.get(f"/v3/images/jobs/{job.id}").json()["status"] == "queued"
            api.draw(job)
        assert api.answers[0].status_code == 200
        assert api.answers[0].headers["connection"] == "close"
        assert api.process.code() == 0
    assert "Traceback" not in api.process.log.read_text()


def test_who_still_waits_at_the_limit_finds_his_job_again(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """An SDK's retry (same body, its retry count) joins the job, which was not cancelled."""
    with _api(redis_settings, tmp_path, 1) as api:
        with api.asking(headers={"x-stainless-retry-count": "0"}) as job:
            api.process.send()
        assert api.process.code() == 0
    (answer,) = api.answers
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    assert answer.headers["retry-after"] == "5"
    assert job.id in answer.json()["error"]["message"]
    assert look(redis_settings, job).status is Status.QUEUED
    assert _waiters(redis_settings, job) == "0"
    with _api(redis_settings, tmp_path) as again:
        with again.asking(headers={"x-stainless-retry-count": "1"}) as joined:
            assert joined.id == job.id
            wait_until(lambda: _waiters(redis_settings, job) == "1")
            again.draw(joined)
        assert again.answers[0].status_code == 200


def test_streams_end_with_a_reason(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with _api(redis_settings, tmp_path, 1) as api:
        with api.asking(json={**BODY, "stream": True}) as job, _following(api, job) as followed:
            api.process.send()
        assert api.process.code() == 0
    *_, event, data = api.answers[0].text.strip().splitlines()
    assert event == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert followed[0] == "event: queued"
    assert "starting_after" in followed[-1]
    assert look(redis_settings, job).status is Status.QUEUED


def test_a_follower_does_not_hold_it_up(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with _api(redis_settings, tmp_path, 600) as api:
        submitted = api.http.post(GENERATIONS, json=BODY, headers={"Prefer": "respond-async"})
        assert submitted.status_code == 202
        with _following(api, api.only_job()) as followed:
            api.process.send()
        assert api.process.code() == 0
    assert "starting_after" in followed[-1]


@contextmanager
def _following(api: Api, job: Job) -> Iterator[list[str]]:
    """Follow a job's events in the background, from their beginning; all lines are there after the block."""
    lines: list[str] = []

    def follow() -> None:
        with httpx2.stream("GET", f"{api.url}/v3/images/jobs/{job.id}/events", timeout=60) as response:
            lines.extend(line for line in _noting(response.iter_lines()) if line)

    def _noting(parts: Iterator[str]) -> Iterator[str]:
        for part in parts:
            begun.set()
            yield part

    begun = threading.Event()
    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(60)
    yield lines
    thread.join(60)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(redis_settings: RedisSettings, tmp_path: Path, second: signal.Signals) -> None:
    with _api(redis_settings, tmp_path) as api, api.asking() as job:
        api.drain()
        api.process.send(second)
        assert api.process.code() == 0
    assert api.answers[0].status_code == 503
    assert "Traceback" not in api.process.log.read_text()
    assert look(redis_settings, job).status is Status.QUEUED
