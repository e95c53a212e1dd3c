"""The field webhook of a request."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.job_submitter import check_webhook
from config.settings import RedisSettings, Settings, WebhookSettings
from graphs.errors import InvalidRequest
from tests.api.api_support import PNG, Api, error_of, serving
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import client
from tests.workers.webhooks.webhook_support import PRIVATE_URLS, SECRET, WRONG_URLS
from workers.jobs.job_options import Webhook

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


def with_webhook(webhook: Any) -> dict[str, Any]:
    return {"prompt": "a red circle", "webhook": webhook}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_secret_a_webhook_is_refused(
    api_without_secret: Api, redis_settings: RedisSettings, path: str
) -> None:
    error = error_of(api_without_secret.http.post(path, json=with_webhook(HOOK)))
    assert error["param"] == "webhook"
    assert "IMAGEGEN_WEBHOOKS__SECRET" in error["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "http://hooks.example/", "ftp://hooks.example/", "https://[::1]/"]
)
def test_a_webhook_to_a_forbidden_url_is_refused(api: Api, redis_settings: RedisSettings, path: str, url: str) -> None:
    assert error_of(api.http.post(path, json=with_webhook({"url": url})))["param"] == "webhook.url"
    with client(redis_settings) as behind:
        assert behind.keys("imagegen:job:*") == []


@pytest.mark.parametrize("wrong", [{}, {"url": HOOK["url"], "events": []}, {**HOOK, "events": ["done"]}, "x"])
def test_an_invalid_webhook_is_refused(api: Api, redis_settings: RedisSettings, wrong: Any) -> None:
    error = error_of(api.http.post("/v3/images/jobs", json=with_webhook(wrong)))
    assert error["param"].startswith("webhook")


def test_a_job_object_does_not_show_the_webhook(api: Api, redis_settings: RedisSettings) -> None:
    plain = api.http.post("/v3/images/jobs", json={"prompt": "a red circle"})
    hooked = api.http.post("/v3/images/jobs", json=with_webhook({**HOOK, "events": ["queued", "completed"]}))
    assert hooked.status_code == 202
    assert list(hooked.json()) == list(plain.json())
    with client(redis_settings) as behind:
        (event_id,) = behind.zrange(keys.deliveries, 0, -1)
        delivery = behind.hgetall(keys.delivery(event_id))
    assert (delivery["job_id"], delivery["type"], delivery["url"]) == (hooked.json()["id"], "queued", HOOK["url"])
    assert set(delivery) >= {"job_id", "type", "created_at", "url", "attempts"}


def test_an_edit_may_have_a_webhook(api: Api, redis_settings: RedisSettings) -> None:
    fields = {"prompt": "x", "webhook[url]": HOOK["url"], "webhook[events][]": "queued"}
    answer = api.http.post("/v3/images/jobs", data=fields, files={"image": ("a.png", PNG, "image/png")})
    assert answer.status_code == 202, answer.text
    with client(redis_settings) as behind:
        assert behind.zcard(keys.deliveries) == 1


def test_without_a_secret_no_job_may_have_a_webhook() -> None:
    param, message = _refusal("https://a.example/", WebhookSettings())
    assert param == "webhook"
    assert "IMAGEGEN_WEBHOOKS__SECRET" in message


@pytest.mark.parametrize("url", [*PRIVATE_URLS, *WRONG_URLS])
def test_the_error_for_a_refused_url_names_the_parameter(url: str) -> None:
    assert _refusal(url, WebhookSettings(secret=SECRET))[0] == "webhook.url"


def _refusal(url: str, settings: WebhookSettings) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        check_webhook(Webhook(url=url), settings)
    return caught.value.param, caught.value.message
