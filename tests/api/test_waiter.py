"""A client that disconnects before the end of its job."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from config.settings import RedisSettings
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.support.polling import pause, wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client, waiting

GENERATIONS, JOBS = "/v3/images/generations", "/v3/images/jobs"
BODY: dict[str, Any] = {"prompt": "a red circle"}


def _time_out(api: Api, after_s: float = 0.3, **request: Any) -> None:
    """Send a request, and disconnect without an answer."""
    timeout = httpx2.Timeout(20, read=after_s)
    with httpx2.Client(base_url=api.http.base_url, timeout=timeout) as http, pytest.raises(httpx2.ReadTimeout):
        http.post(**{"url": GENERATIONS, "json": BODY, **request})


@contextmanager
def _timing_out(api: Api, **request: Any) -> Iterator[None]:
    """Run a client that has disconnected without an answer at the end of the block."""
    thread = threading.Thread(target=lambda: _time_out(api, 1.0, **request))
    thread.start()
    yield
    thread.join(20)


def _only_job(api: Api) -> str:
    listed = api.http.get(JOBS).json()["data"]
    assert len(listed) == 1
    found: str = listed[0]["id"]
    return found


def _is_cancelled(api: Api, job_id: str) -> bool:
    return bool(api.job(job_id)["status"] == "cancelled")


def test_a_client_that_disconnects_cancels_its_job(api: Api) -> None:
    _time_out(api)
    job_id = _only_job(api)
    wait_until(lambda: _is_cancelled(api, job_id))
    assert waiting(api.redis) == []


def test_a_running_job_is_cancelled_too(api: Api) -> None:
    with _timing_out(api):
        job_id = api.next_job()
        claims, claim = api.claim(job_id)
    wait_until(lambda: claims.progress(claim, 1, 4) == "cancel")


def test_the_client_of_a_stream_that_disconnects_cancels_its_job(api: Api) -> None:
    with api.http.stream("POST", GENERATIONS, json={**BODY, "stream": True}) as answer:
        assert next(answer.iter_lines()).startswith(": queued")
        job_id = _only_job(api)
    wait_until(lambda: _is_cancelled(api, job_id))


def test_while_another_client_waits_the_job_goes_on(api: Api) -> None:
    headers = {"Idempotency-Key": "shared"}
    with api.asking(headers=headers) as answer:
        job_id = api.next_job()
        _time_out(api, headers=headers)
        wait_until(lambda: _waiters(api, job_id) == 1)
        assert api.job(job_id)["status"] == "queued"
        api.complete(job_id)
        assert answer().status_code == 200
    assert _only_job(api) == job_id


def _waiters(api: Api, job_id: str) -> int:
    with client(api.redis) as behind:
        return int(str(behind.hget(keys.job(job_id), "waiters")))


@pytest.mark.parametrize("async_first", [True, False])
def test_a_detached_job_goes_on_after_a_disconnect(api: Api, async_first: bool) -> None:
    headers = {"Idempotency-Key": "shared"}
    if async_first:
        api.http.post(JOBS, json=BODY, headers=headers)
        _time_out(api, headers=headers)
    else:
        with _timing_out(api, headers=headers):
            api.next_job()
            assert api.http.post(JOBS, json=BODY, headers=headers).status_code == 202
    job_id = _only_job(api)
    wait_until(lambda: _waiters(api, job_id) == 1)
    pause(0.2)
    assert api.job(job_id)["status"] == "queued"


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async"])
def test_a_detached_client_may_disconnect(api: Api, prefer: str) -> None:
    body = {**BODY, "stream": prefer == "respond-async"}
    _time_out(api, headers={"Prefer": prefer}, json=body)
    pause(0.2)
    assert api.job(_only_job(api))["status"] == "queued"


def test_cancel_on_disconnect_can_be_turned_off(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"cancel_on_disconnect": False})) as own:
        _time_out(own)
        job_id = _only_job(own)
        wait_until(lambda: _waiters(own, job_id) == 0)
        pause(0.2)
        assert own.job(job_id)["status"] == "queued"


def test_an_sdk_that_times_out_makes_one_job(api: Api) -> None:
    made = openai.OpenAI(base_url=f"{api.http.base_url.join('/v3')}", api_key="x", max_retries=2, timeout=0.5)
    with made, pytest.raises(openai.APITimeoutError):
        made.images.generate(prompt="a red circle", model="demo")
    assert api.job(_only_job(api))["status"] == "queued"


def test_an_sdk_that_times_out_gets_its_image_at_a_later_attempt(api: Api) -> None:
    def draw() -> None:
        pause(1.5)
        api.complete(api.next_job())

    drawing = threading.Thread(target=draw)
    drawing.start()
    with openai.OpenAI(base_url=f"{api.http.base_url.join('/v3')}", api_key="x", max_retries=5, timeout=0.7) as made:
        answer = made.images.generate(prompt="a red circle", model="demo")
    drawing.join(20)
    assert answer.data
    assert api.job(_only_job(api))["attempts"] == 1


def test_a_client_whose_job_redis_has_lost_is_to_try_again(api: Api) -> None:
    """503, which stock clients retry; a job that its owner erased is not found."""
    with api.asking() as answer:
        api.next_job()
        with client(api.redis) as redis:
            redis.flushall()
        lost = answer()
    assert error_of(lost, 503)["message"].startswith("The job store (Redis) has lost its data, and imgjob_")
    with api.asking() as answer:
        assert api.http.delete(f"{JOBS}/{api.next_job()}").status_code == 200
        assert answer().status_code == 404
