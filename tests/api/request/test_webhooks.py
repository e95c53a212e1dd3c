"""Webhooks as clients ask for them, over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest

from config.settings import RedisSettings, Settings, WebhookSettings
from tests.api.api_support import PNG, Api, error_of, serving
from tests.redis_support import RunningRedis
from tests.workers.jobs.jobs_support import client
from tests.workers.webhooks.webhook_support import SECRET
from workers.jobs.redis import keys

PATHS = ("/v3/images/jobs", "/v3/images/generations")
HOOK = {"url": "https://hooks.example/x"}


@pytest.fixture(scope="module")
def api(redis_server: RunningRedis) -> Iterator[Api]:
    with serving(Settings(redis=redis_server.settings, webhooks=WebhookSettings(secret=SECRET))) as running:
        yield running


@pytest.fixture(scope="module")
def api_without_secret(redis_server: RunningRedis) -> Iterator[Api]:
    with serving(Settings(redis=redis_server.settings)) as running:
        yield running


def asked(webhook: Any) -> dict[str, Any]:
    return {"prompt": "a red circle", "webhook": webhook}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_secret_a_webhook_is_refused(
    api_without_secret: Api, redis_settings: RedisSettings, path: str
) -> None:
    error = error_of(api_without_secret.http.post(path, json=asked(HOOK)))
    assert error["param"] == "webhook"
    assert "IMAGEGEN_WEBHOOKS__SECRET" in error["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "http://hooks.example/", "ftp://hooks.example/", "https://[::1]/"]
)
def test_a_webhook_that_may_not_be_told_is_refused(
    api: Api, redis_settings: RedisSettings, path: str, url: str
) -> None:
    assert error_of(api.http.post(path, json=asked({"url": url})))["param"] == "webhook.url"
    with client(redis_settings) as behind:
        assert behind.keys("imagegen:job:*") == []


@pytest.mark.parametrize("wrong", [{}, {"url": HOOK["url"], "events": []}, {**HOOK, "events": ["done"]}, "x"])
def test_a_webhook_that_is_none_is_refused(api: Api, redis_settings: RedisSettings, wrong: Any) -> None:
    error = error_of(api.http.post("/v3/images/jobs", json=asked(wrong)))
    assert error["param"].startswith("webhook")


def test_a_job_shows_no_more_for_it(api: Api, redis_settings: RedisSettings) -> None:
    plain = api.http.post("/v3/images/jobs", json={"prompt": "a red circle"})
    told = api.http.post("/v3/images/jobs", json=asked({**HOOK, "events": ["queued", "completed"]}))
    assert told.status_code == 202
    assert list(told.json()) == list(plain.json())
    with client(redis_settings) as behind:
        (event_id,) = behind.zrange(keys.DELIVERIES, 0, -1)
        delivery = behind.hgetall(keys.delivery(event_id))
    assert (delivery["job_id"], delivery["type"], delivery["url"]) == (told.json()["id"], "queued", HOOK["url"])
    assert set(delivery) >= {"job_id", "type", "created_at", "url", "attempts"}


def test_an_edit_may_have_one_too(api: Api, redis_settings: RedisSettings) -> None:
    fields = {"prompt": "x", "webhook[url]": HOOK["url"], "webhook[events][]": "queued"}
    answer = api.http.post("/v3/images/jobs", data=fields, files={"image": ("a.png", PNG, "image/png")})
    assert answer.status_code == 202, answer.text
    with client(redis_settings) as behind:
        assert behind.zcard(keys.DELIVERIES) == 1
