"""The webhook worker as a process of its own, as ``imagegen worker --webhooks`` starts it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI

from cli.commands.worker import PROJECT_ROOT, child_environment
from config.settings import RedisSettings, Settings, WebhookSettings
from tests.redis_support import pause, wait_until
from tests.workers.jobs.jobs_support import client, ended
from tests.workers.webhooks.webhook_support import SECRET, Post, job_with_webhook, receiving
from workers.jobs.redis import keys

WEBHOOKS = WebhookSettings(secret=SECRET, allow_private=True, first_retry_s=0.3)


@contextmanager
def webhook_worker(redis: RedisSettings, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the process; it is killed at the end."""
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
        wait_until(lambda: "webhook worker" in log.read_text(), 60)
        yield process
    finally:
        process.kill()
        process.wait()


def libraries_of(process: "subprocess.Popen[bytes]") -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_it_delivers_and_tries_again(redis_settings: RedisSettings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with receiving(500) as receiver, webhook_worker(redis_settings, log) as process:
        job = ended(redis_settings, job_with_webhook(redis_settings, receiver.url))
        wait_until(lambda: len(receiver.received) == 2)
        first, second = receiver.received
        assert first.event["id"] == second.event["id"]
        with OpenAI(api_key="unused", webhook_secret=SECRET) as openai:
            assert str(openai.webhooks.unwrap(second.body, second.headers).type) == "image.job.completed"
        wait_until(lambda: Post(redis_settings).pending() == {})
        wait_until(lambda: f"{job.id}: webhook" in log.read_text() and "delivered" in log.read_text())
        assert "openvino" not in libraries_of(process)
        process.terminate()
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def test_it_ends_with_the_delivery_it_makes(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver, webhook_worker(redis_settings, tmp_path / "log") as process:
        receiver.gate.clear()
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url))
        wait_until(lambda: len(receiver.received) == 1)
        process.terminate()
        pause(1.0)
        assert process.poll() is None
        receiver.gate.set()
        assert process.wait(10) == 0
        assert Post(redis_settings).pending() == {}


def test_a_slow_receiver_keeps_no_other_waiting(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as slow, receiving() as quick, webhook_worker(redis_settings, tmp_path / "log"):
        slow.gate.clear()
        for _ in range(3):
            ended(redis_settings, job_with_webhook(redis_settings, slow.url))
        wait_until(lambda: len(slow.received) == 3)
        for _ in range(5):
            ended(redis_settings, job_with_webhook(redis_settings, quick.url))
        wait_until(lambda: len(quick.received) == 5)
        slow.gate.set()
        wait_until(lambda: Post(redis_settings).pending() == {})
        assert (len(slow.received), len(quick.received)) == (3, 5)


def test_one_that_is_killed_in_the_middle_is_followed_by_another(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.gate.clear()
        with webhook_worker(redis_settings, tmp_path / "first") as process:
            ended(redis_settings, job_with_webhook(redis_settings, receiver.url))
            wait_until(lambda: len(receiver.received) == 1)
            process.kill()
        receiver.gate.set()
        post = Post(redis_settings)
        (held_s,) = post.pending().values()
        assert 50 < held_s < 61
        post.make_due()
        with webhook_worker(redis_settings, tmp_path / "second"):
            wait_until(lambda: post.pending() == {})
        first, second = receiver.received
        assert first.body == second.body
        assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_two_of_them_deliver_once(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        webhook_worker(redis_settings, tmp_path / "first"),
        webhook_worker(redis_settings, tmp_path / "second"),
    ):
        for _ in range(20):
            ended(redis_settings, job_with_webhook(redis_settings, receiver.url))
        wait_until(lambda: Post(redis_settings).pending() == {})
        pause(1.0)
        assert len({received.event["id"] for received in receiver.received}) == 20
        assert len(receiver.received) == 20


def test_a_lost_message_is_sent_again(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with receiving() as receiver:
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url))
        post = Post(redis_settings)
        assert len(post.deliveries.claim_due(10)) == 1  # and nothing is sent: its sender died
        post.make_due()
        with webhook_worker(redis_settings, tmp_path / "log"), client(redis_settings) as behind:
            wait_until(lambda: len(receiver.received) == 1)
            wait_until(lambda: not behind.llen(keys.WEBHOOK_QUEUE))
