"""Clients that wait on their connection: those that are cut by a time-out, and those that want white space."""

import json

import httpx2
import pytest

from config.settings import RedisSettings
from tests.api.api_support import Api, serving, settings_for
from tests.support.polling import wait_until

PATH = "/v3/images/generations"
BODY = {"prompt": "a red circle"}


def test_a_node_client_that_is_cut_joins_its_job_with_its_retry(redis_settings: RedisSettings) -> None:
    """Node's fetch ends a silent request after 300 s, and openai-node sends it again; here both times are short."""
    node = {"x-stainless-lang": "js"}
    with serving(settings_for(redis_settings, {"node_timeout_s": 2})) as api:
        with pytest.raises(httpx2.ReadTimeout):
            api.http.post(PATH, json=BODY, headers={**node, "x-stainless-retry-count": "0"}, timeout=4)
        with api.asking(headers={**node, "x-stainless-retry-count": "1"}) as answer:
            job = api.next_job()
            api.complete(job)
            assert answer().json()["data"][0]["b64_json"]
        jobs = api.http.get("/v3/images/jobs").json()["data"]
        assert [(one["id"], one["status"]) for one in jobs] == [(job, "completed")]


def test_another_client_that_leaves_cancels_its_job(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"node_timeout_s": 2})) as api:
        with pytest.raises(httpx2.ReadTimeout):
            api.http.post(PATH, json=BODY, headers={"x-stainless-lang": "python"}, timeout=4)
        wait_until(lambda: api.http.get("/v3/images/jobs").json()["data"][0]["status"] == "cancelled")


def test_white_space_comes_before_the_images(api: Api) -> None:
    with api.http.stream("POST", PATH, json=BODY, headers={"Prefer": "white-space=1"}) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b" "
        api.complete(api.next_job())
        assert json.loads(b"".join(parts))["data"][0]["b64_json"]
        assert answer.headers["content-type"] == "application/json"


def test_a_failure_behind_white_space_is_the_error_object(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"white_space_s": 1})) as api:
        with api.http.stream("POST", PATH, json=BODY) as answer:
            parts = answer.iter_raw()
            assert next(parts) == b" "
            api.fail(api.next_job(), "generation_failed", "It went wrong.")
            error = json.loads(b"".join(parts))["error"]
        assert (answer.status_code, error["code"], error["message"]) == (200, "generation_failed", "It went wrong.")
        assert api.http.post(PATH, json={"prompt": "x", "n": 0}).status_code == 400


def test_a_client_that_leaves_the_white_space_cancels_its_job(api: Api) -> None:
    with api.http.stream("POST", PATH, json=BODY, headers={"Prefer": "white-space=1"}) as answer:
        assert next(answer.iter_raw()) == b" "
    wait_until(lambda: api.http.get("/v3/images/jobs").json()["data"][0]["status"] == "cancelled")
