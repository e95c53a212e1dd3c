"""Webhook workers as processes, started by ``imagegen worker --webhooks``."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.local.child_environment import PROJECT_ROOT, child_environment
from config.settings import RedisSettings, Settings, WebhookSettings
from tests.support.polling import pause, wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client
from tests.workers.webhooks.webhook_support import SECRET, WebhookWorker, completed_job, receiving, unwrap

pytestmark = pytest.mark.usefixtures("processes")

WEBHOOKS = WebhookSettings(secret=SECRET, allow_private=True, first_retry_s=0.3)


@contextmanager
def webhook_worker(redis: RedisSettings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the process and wait until it is ready; kill it at the end."""
    environment = child_environment(Settings(redis=redis, webhooks=WEBHOOKS))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker", "--webhooks"],
            env=environment,
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: "webhook worker" in log.read_text(), deadline_s=60)
        yield process
    finally:
        process.kill()
        process.wait()


def libraries_of(process: "subprocess.Popen[bytes]") -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_a_worker_delivers_and_tries_again(redis_settings: RedisSettings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with receiving(500) as receiver, webhook_worker(redis_settings, log) as process:
        job = completed_job(redis_settings, receiver.url)
        wait_until(lambda: len(receiver.received) == 2)
        first, second = receiver.received
        assert first.event["id"] == second.event["id"]
        assert str(unwrap(second).type) == "image.job.completed"
        wait_until(lambda: WebhookWorker(redis_settings).pending() == {})
        wait_until(lambda: f"{job.id}: webhook" in log.read_text() and "delivered" in log.read_text())
        assert "openvino" not in libraries_of(process)
        process.terminate()
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def test_a_stopping_worker_ends_after_its_current_delivery(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver, webhook_worker(redis_settings, tmp_path / "log") as process:
        receiver.gate.clear()
        completed_job(redis_settings, receiver.url)
        wait_until(lambda: len(receiver.received) == 1)
        process.terminate()
        pause(1.0)
        assert process.poll() is None
        receiver.gate.set()
        assert process.wait(10) == 0
        assert WebhookWorker(redis_settings).pending() == {}


def test_a_slow_receiver_does_not_delay_others(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as slow, receiving() as quick, webhook_worker(redis_settings, tmp_path / "log"):
        slow.gate.clear()
        for _ in range(3):
            completed_job(redis_settings, slow.url)
        wait_until(lambda: len(slow.received) == 3)
        for _ in range(5):
            completed_job(redis_settings, quick.url)
        wait_until(lambda: len(quick.received) == 5)
        slow.gate.set()
        wait_until(lambda: WebhookWorker(redis_settings).pending() == {})
        assert (len(slow.received), len(quick.received)) == (3, 5)


def test_another_worker_repeats_the_delivery_of_a_killed_one(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.gate.clear()
        with webhook_worker(redis_settings, tmp_path / "first") as process:
            completed_job(redis_settings, receiver.url)
            wait_until(lambda: len(receiver.received) == 1)
            process.kill()
        receiver.gate.set()
        worker = WebhookWorker(redis_settings)
        (held_s,) = worker.pending().values()
        assert 50 < held_s < 61
        worker.make_due()
        with webhook_worker(redis_settings, tmp_path / "second"):
            wait_until(lambda: worker.pending() == {})
        first, second = receiver.received
        assert first.body == second.body
        assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_two_workers_deliver_each_event_once(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        webhook_worker(redis_settings, tmp_path / "first"),
        webhook_worker(redis_settings, tmp_path / "second"),
    ):
        for _ in range(20):
            completed_job(redis_settings, receiver.url)
        wait_until(lambda: WebhookWorker(redis_settings).pending() == {})
        pause(1.0)
        assert len({received.event["id"] for received in receiver.received}) == 20
        assert len(receiver.received) == 20


def test_a_lost_message_is_sent_again(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings)
        assert len(worker.deliveries.claim_due(10)) == 1  # claimed, but its message is never sent
        worker.make_due()
        with webhook_worker(redis_settings, tmp_path / "log"), client(redis_settings) as behind:
            wait_until(lambda: len(receiver.received) == 1)
            wait_until(lambda: not behind.llen(keys.webhook_messages))
