"""Webhooks that hold up others: slow receivers, silent name servers, and names that are none."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import RedisSettings, Settings, WebhookSettings
from tests.api.api_support import Api, error_of, serving
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis
from tests.workers.jobs.jobs_support import cancel, client
from tests.workers.webhooks.test_webhook_worker import webhook_worker
from tests.workers.webhooks.webhook_support import SECRET, WebhookWorker, job_with_webhook, receiving
from workers.jobs.deliveries import MOST_OF_OWNER, MOST_TO_RECEIVER, Deliveries


@pytest.fixture(scope="module")
def api(redis_server: RunningRedis) -> Iterator[Api]:
    with serving(Settings(redis=redis_server.settings, webhooks=WebhookSettings(secret=SECRET))) as running:
        yield running


def _due(settings: RedisSettings, owner: str, url: str, count: int) -> None:
    """Make so many deliveries of an owner to this URL due."""
    for _ in range(count):
        cancel(settings, job_with_webhook(settings, url, owner=owner))


def _claimed(settings: RedisSettings, limit: int = 100) -> list[tuple[str, str]]:
    """Claim what is due, and return owner and URL of each."""
    with client(settings) as raw:
        ids = [event_id for event_id, _ in Deliveries(settings).claim_due(limit)]
        found = [raw.hmget(keys.delivery(event_id), ["owner", "url"]) for event_id in ids]
    return [(str(owner), str(url)) for owner, url in found]


def test_one_receiver_holds_a_few_attempts_at_a_time(redis_settings: RedisSettings) -> None:
    slow, quick = "https://slow.example/x", "https://quick.example/"
    _due(redis_settings, "one", slow, 30)
    _due(redis_settings, "one", slow.replace("https://", "https://user@").replace("slow", "SLOW"), 30)
    _due(redis_settings, "one", quick, 1)
    by_url = Counter(url for _, url in _claimed(redis_settings))
    assert by_url[quick] == 1
    assert by_url.total() == MOST_TO_RECEIVER + 1
    assert _claimed(redis_settings) == []


def test_one_owner_holds_a_few_attempts_at_a_time_and_owners_take_turns(redis_settings: RedisSettings) -> None:
    for number in range(40):
        _due(redis_settings, "one", f"https://slow{number}.example/", 1)
    _due(redis_settings, "two", "https://quick.example/", 3)
    assert Counter(owner for owner, _ in _claimed(redis_settings, 6)) == {"one": 3, "two": 3}
    assert Counter(owner for owner, _ in _claimed(redis_settings)) == {"one": MOST_OF_OWNER - 3}


def test_an_attempt_that_ends_makes_room_for_the_next(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        _due(redis_settings, "one", receiver.url, MOST_TO_RECEIVER + 3)
        worker = WebhookWorker(redis_settings)
        assert [worker.deliver_due() for _ in range(3)] == [MOST_TO_RECEIVER, 3, 0]
        assert len(receiver.received) == MOST_TO_RECEIVER + 3


@pytest.mark.usefixtures("processes")
def test_a_slow_receiver_does_not_delay_another_owner(redis_settings: RedisSettings, tmp_path: Path) -> None:
    """Its fifty deliveries are older; while none of them is answered, those of the other owner arrive."""
    with receiving() as slow, receiving() as quick:
        slow.gate.clear()
        _due(redis_settings, "one", slow.url, 50)
        with webhook_worker(redis_settings, tmp_path / "log"):
            wait_until(lambda: len(slow.received) >= MOST_TO_RECEIVER)
            _due(redis_settings, "two", quick.url, 20)
            wait_until(lambda: len(quick.received) == 20)
            assert not slow.gate.is_set()


@pytest.mark.parametrize(
    "host", ["xn--a.example", "xn--", "xn--zzzzzzz-.example", "a..b", "a" * 64 + ".example", "\u200d.example"]
)
def test_a_name_that_is_none_is_refused(api: Api, redis_settings: RedisSettings, host: str) -> None:
    body = {"prompt": "a red circle", "webhook": {"url": f"https://{host}/"}}
    error = error_of(api.http.post("/v3/images/jobs", content=json.dumps(body)))
    assert error["param"] == "webhook.url"
    assert "A webhook's address must be a URL" in error["message"]


def test_the_list_of_events_is_bounded(api: Api, redis_settings: RedisSettings) -> None:
    webhook = {"url": "https://hooks.example/", "events": ["completed"] * 6}
    error = error_of(api.http.post("/v3/images/jobs", json={"prompt": "a red circle", "webhook": webhook}))
    assert error["param"].startswith("webhook")
