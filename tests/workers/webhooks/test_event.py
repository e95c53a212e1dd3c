"""The events of a job: their kinds, content, signatures and expiry."""

import time

import pytest
from openai import InvalidWebhookSignatureError

from cli.commands.keys import webhook_secret
from config.environment import SettingsError, load_settings
from config.settings import RedisSettings, Settings, WebhookSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, cancel, claimed, claims_of, client, ended, erase, submit
from tests.workers.webhooks.webhook_support import (
    OTHER_SECRET,
    SECRET,
    Received,
    WebhookWorker,
    completed_job,
    job_with_webhook,
    receiving,
    unwrap,
)
from workers.jobs.status import Status
from workers.webhooks.delivery import signature_headers


def test_the_event_of_a_completed_job(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        job = job_with_webhook(redis_settings, receiver.url, metadata={"order": "7 ж"})
        before = int(time.time())
        ended(redis_settings, job)
        worker = WebhookWorker(redis_settings)
        assert worker.deliver_due() == 1
        (received,) = receiver.received
    event = unwrap(received)
    assert event.type == "image.job.completed"
    assert event.data.id == job.id
    assert received.path == "/hook?x=1"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == received.event["id"]
    assert received.event["id"].startswith("evt_")
    assert before <= received.event["created_at"] <= time.time()
    assert received.event == {
        "id": received.event["id"],
        "object": "event",
        "created_at": received.event["created_at"],
        "type": "image.job.completed",
        "data": {"id": job.id, "status": "completed", "model": GRAPH, "metadata": {"order": "7 ж"}},
    }
    assert worker.pending() == {}
    with client(redis_settings) as behind:
        assert behind.keys("imagegen:delivery:*") == []


def test_the_trace_of_the_request_goes_on_in_the_webhook(redis_settings: RedisSettings) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with receiving() as receiver:
        for options in ({"traceparent": traceparent}, {}):
            ended(redis_settings, job_with_webhook(redis_settings, receiver.url, **options))
            WebhookWorker(redis_settings).deliver_due()
        traced, plain = receiver.received
    assert traced.headers["traceparent"] == traceparent
    assert traced.event.keys() == plain.event.keys()
    assert "traceparent" not in plain.headers


def test_metadata_is_null_for_a_job_without_any(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        WebhookWorker(redis_settings).deliver_due()
        assert receiver.received[0].event["data"]["metadata"] is None


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_by_default_each_end_of_a_job_is_an_event_and_nothing_else(
    redis_settings: RedisSettings, status: Status
) -> None:
    with receiving() as receiver:
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url), status)
        WebhookWorker(redis_settings).deliver_due()
        assert [received.event["type"] for received in receiver.received] == [f"image.job.{status}"]


def test_only_the_requested_events_are_sent(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url, "failed", "in_progress", "queued"))
        WebhookWorker(redis_settings).deliver_due()
        kinds = [received.event["data"]["status"] for received in receiver.received]
    assert kinds == ["queued", "in_progress"]
    assert len({received.event["id"] for received in receiver.received}) == 2


def test_a_step_is_no_event(redis_settings: RedisSettings) -> None:
    job = job_with_webhook(redis_settings, "https://a.example")
    assert claims_of(redis_settings).progress(claimed(redis_settings, job), 1, 4) == "go on"
    assert WebhookWorker(redis_settings).pending() == {}


def test_a_job_without_a_webhook_has_no_delivery(redis_settings: RedisSettings) -> None:
    ended(redis_settings, submit(redis_settings))
    assert WebhookWorker(redis_settings).pending() == {}


def test_cancelling_a_queued_job_is_an_event(redis_settings: RedisSettings) -> None:
    cancel(redis_settings, job_with_webhook(redis_settings, "https://a.example"))
    assert len(WebhookWorker(redis_settings).pending()) == 1


def test_erasing_an_ended_job_is_no_second_event(redis_settings: RedisSettings) -> None:
    job = completed_job(redis_settings, "https://a.example")
    erase(redis_settings, job)
    assert len(WebhookWorker(redis_settings).pending()) == 1


def test_deliveries_expire(redis_settings: RedisSettings) -> None:
    completed_job(redis_settings, "https://a.example")
    (event_id,) = WebhookWorker(redis_settings).pending()
    with client(redis_settings) as behind:
        assert 72 * 3600 - 60 < behind.ttl(keys.delivery(event_id)) <= 72 * 3600
        behind.delete(keys.delivery(event_id))
    worker = WebhookWorker(redis_settings)
    assert worker.deliver_due() == 0
    assert worker.pending() == {}


def test_expired_deliveries_leave_the_list(redis_settings: RedisSettings) -> None:
    with client(redis_settings) as behind:
        behind.zadd(keys.deliveries, {"evt_old": (time.time() - 73 * 3600) * 1000})
    completed_job(redis_settings, "https://a.example")
    assert "evt_old" not in WebhookWorker(redis_settings).pending()


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_while_secrets_are_rotated_either_one_verifies(redis_settings: RedisSettings, secret: str) -> None:
    both = WebhookSettings(secret=f"{SECRET} {OTHER_SECRET}", allow_private=True)
    with receiving() as receiver:
        job = completed_job(redis_settings, receiver.url)
        WebhookWorker(redis_settings, both).deliver_due()
        assert unwrap(receiver.received[0], secret).data.id == job.id
        assert receiver.received[0].headers["webhook-signature"].count("v1,") == 2


def test_another_secret_does_not_verify(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        WebhookWorker(redis_settings).deliver_due()
        with pytest.raises(InvalidWebhookSignatureError):
            unwrap(receiver.received[0], OTHER_SECRET)


def test_a_changed_body_does_not_verify(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        WebhookWorker(redis_settings).deliver_due()
        good = receiver.received[0]
    changed = Received(good.path, good.headers, good.body.replace("completed", "cancelled"))
    with pytest.raises(InvalidWebhookSignatureError):
        unwrap(changed)


def test_a_stale_timestamp_does_not_verify() -> None:
    headers = signature_headers("evt_1", "{}", [SECRET], time.time() - 400)
    with pytest.raises(InvalidWebhookSignatureError, match="too old"):
        unwrap(Received("/", headers, "{}"))


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ж", "whsec_a", f"{SECRET} whsec_!!!!"])
def test_a_secret_that_is_no_base64_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"IMAGEGEN_WEBHOOKS__SECRET: .*base64") as caught:
        load_settings(webhooks={"secret": secret})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["short", "whsec_c2hvcnQ=", "a phrase with blanks is several secrets", f"{SECRET} short"]
)
def test_a_short_secret_is_refused_and_the_command_that_makes_one_is_named(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"at least 24 bytes.*blank.*imagegen keys webhook-secret"):
        load_settings(webhooks={"secret": secret})


def test_the_command_makes_a_secret_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    webhook_secret()
    made = capsys.readouterr().out.strip()
    assert load_settings(webhooks={"secret": made}).webhooks.secrets == (made,)


def test_secrets_do_not_show() -> None:
    assert SECRET not in repr(Settings(webhooks=WebhookSettings(secret=SECRET)))
