"""The attempts at a delivery: retries, giving up, claims and the log."""

import logging
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, client
from tests.workers.webhooks.webhook_support import (
    LOCAL,
    WebhookWorker,
    completed_job,
    job_with_webhook,
    receiving,
    unwrap,
)
from workers.jobs.deliveries import Deliveries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_after_a_temporary_failure_the_same_event_is_sent_again(redis_settings: RedisSettings, status: int) -> None:
    with receiving(status, status) as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings)
        wait_until(lambda: [worker.deliver_due(), worker.pending()][1] == {})
        assert len(receiver.received) == 3
        assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
        assert len({received.body for received in receiver.received}) == 1
        for received in receiver.received:
            unwrap(received)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 400, 401, 403, 404, 410, 422])
def test_a_refusal_is_final_and_no_redirect_is_followed(
    redis_settings: RedisSettings, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as elsewhere, receiving() as receiver:
        receiver.answers = [(status, {"Location": elsewhere.url})]
        job = completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings)
        worker.deliver_due()
        assert worker.pending() == {}
        assert (len(receiver.received), len(elsewhere.received)) == (1, 0)
    assert f"{job.id}: webhook" in caplog.text
    assert f"given up after attempt 1: status {status}" in caplog.text


def test_a_connection_that_is_refused_is_tried_again(
    redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    job = completed_job(redis_settings, f"http://127.0.0.1:{port}/")
    worker = WebhookWorker(redis_settings)
    worker.deliver_due()
    assert len(worker.pending()) == 1
    assert f"{job.id}: webhook" in caplog.text
    assert "not delivered (attempt 1: " in caplog.text


def test_a_name_that_cannot_be_found_is_tried_again(redis_settings: RedisSettings) -> None:
    completed_job(redis_settings, "https://no.such.name.invalid/")
    worker = WebhookWorker(redis_settings)
    worker.deliver_due()
    assert len(worker.pending()) == 1


def test_a_delivery_ends_after_max_attempts(redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture) -> None:
    three = LOCAL.model_copy(update={"max_attempts": 3})
    with receiving(*[500] * 9) as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings, three)
        wait_until(lambda: [worker.deliver_due(), worker.pending()][1] == {})
        assert len(receiver.received) == 3
    assert "given up after attempt 3: status 500" in caplog.text


def test_the_wait_doubles_up_to_the_longest(redis_settings: RedisSettings) -> None:
    slow = LOCAL.model_copy(update={"first_retry_s": 5.0, "longest_retry_s": 60.0})
    waits: list[float] = []
    with receiving(*[500] * 9) as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings, slow)
        for _ in range(6):
            worker.make_due()
            assert worker.deliver_due() == 1
            waits += worker.pending().values()
    for wait, expected in zip(waits, [5, 10, 20, 40, 60, 60], strict=True):
        assert 0.75 * expected - 0.1 <= wait <= 1.25 * expected + 1.1


@pytest.mark.parametrize("kind", ["seconds", "date", "nonsense"])
def test_retry_after_delays_the_next_attempt(redis_settings: RedisSettings, kind: str) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 900))
    asked = {"seconds": "900", "date": date, "nonsense": "soon"}[kind]
    with receiving() as receiver:
        receiver.answers = [(429, {"Retry-After": asked})]
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings)
        worker.deliver_due()
        (wait,) = worker.pending().values()
    assert wait < 5 if kind == "nonsense" else 890 < wait < 902


def test_the_claim_of_a_delivery_is_valid_for_one_attempt(redis_settings: RedisSettings) -> None:
    completed_job(redis_settings, "https://a.example")
    deliveries = Deliveries(redis_settings)
    ((event_id, token),) = deliveries.claim_due(10)
    assert deliveries.claim_due(10) == []
    first = deliveries.begin(event_id, token)
    assert first is not None
    assert deliveries.begin(event_id, token) is None  # a message that was delivered twice
    assert deliveries.begin(event_id, first.token) is not None
    deliveries.end(first)  # another attempt has the claim by now
    assert len(WebhookWorker(redis_settings).pending()) == 1


def test_the_number_of_waiting_messages_is_limited(redis_settings: RedisSettings) -> None:
    for _ in range(3):
        completed_job(redis_settings, "https://a.example")
    deliveries = Deliveries(redis_settings)
    assert len(deliveries.claim_due(2)) == 2
    with client(redis_settings) as behind:
        behind.rpush(keys.webhook_messages, "a message", "another")
    assert deliveries.claim_due(2) == []
    assert len(deliveries.claim_due(3)) == 1


def test_a_delivery_that_kills_its_worker_is_given_up(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings, LOCAL.model_copy(update={"max_attempts": 2}))
        for _ in range(2):
            worker.make_due()
            ((event_id, token),) = worker.deliveries.claim_due(10)
            assert worker.deliveries.begin(event_id, token) is not None
        worker.make_due()
        worker.deliver_due()
        assert (worker.pending(), receiver.received) == ({}, [])


DIES_AFTER_FINISHING = """
import os, signal, sys
from config.settings import JobSettings, RedisSettings
from workers.jobs.claims import Claims
claims = Claims(RedisSettings(url=sys.argv[1]), JobSettings(), "doomed")
claim = claims.claim_next(sys.argv[2])
assert claims.complete(claim, [b"image"], {})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_dies_right_after_finishing_loses_nothing(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        job = job_with_webhook(redis_settings, receiver.url)
        doomed = subprocess.run(
            [sys.executable, "-c", DIES_AFTER_FINISHING, str(redis_settings.url), GRAPH],
            cwd=Path(__file__).parents[3],
            timeout=60,
        )
        assert doomed.returncode == -9
        WebhookWorker(redis_settings).deliver_due()
        assert unwrap(receiver.received[0]).data.id == job.id


def test_logs_do_not_contain_the_secrets_of_a_url(
    redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with receiving(500) as receiver:
        url = f"http://user:password@127.0.0.1:{receiver.port}/?token=hidden"
        completed_job(redis_settings, url)
        worker = WebhookWorker(redis_settings)
        wait_until(lambda: [worker.deliver_due(), worker.pending()][1] == {})
        assert receiver.received[0].headers["authorization"].startswith("Basic ")
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("workers."))
    assert "delivered" in ours
    assert "password" not in ours
    assert "hidden" not in ours
