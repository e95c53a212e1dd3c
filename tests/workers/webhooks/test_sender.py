"""The connection to the server of a webhook: time limits, sizes, proxies, addresses and certificates."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.settings import RedisSettings, WebhookSettings
from tests.workers.webhooks.webhook_support import (
    LOCAL,
    SECRET,
    WebhookWorker,
    completed_job,
    receiving,
)
from workers.webhooks.sender import Verdict, WebhookSender

PUBLIC = "93.184.216.34"


def sent(url: str, settings: WebhookSettings = LOCAL, **more: Any) -> Any:
    return WebhookSender(settings, **more).send(url, "{}", {"webhook-id": "evt_1"})


def test_a_server_that_drips_bytes_does_not_hold_a_worker() -> None:
    dripping = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not dripping.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        answer = sent(f"http://127.0.0.1:{listening.getsockname()[1]}/", LOCAL.model_copy(update={"timeout_s": 0.2}))
        assert (answer.verdict, answer.reason) == (Verdict.TRY_AGAIN, "no answer within 0.2 s")
        assert time.monotonic() - started < 3
        dripping.set()
        thread.join(10)


def test_a_silent_name_server_holds_an_attempt_no_longer_than_its_time_limit() -> None:
    answered = threading.Event()

    def silent(host: str, port: int) -> list[str]:
        answered.wait(60)
        return ["127.0.0.1"]

    settings = LOCAL.model_copy(update={"timeout_s": 0.2})
    answer = WebhookSender(settings, resolver=silent).send("https://hooks.example/", "{}", {})
    assert not answered.is_set()
    assert (answer.verdict, answer.reason) == (Verdict.TRY_AGAIN, "no answer within 0.2 s")
    answered.set()


def test_a_very_long_answer_is_cut_off() -> None:
    with receiving() as receiver:
        receiver.body = b"x" * 100_000_000
        assert sent(receiver.url).verdict is Verdict.DELIVERED
        assert receiver.cut_off.wait(10)


def test_a_server_that_never_answers_is_tried_again() -> None:
    with receiving() as receiver:
        receiver.gate.clear()
        answer = sent(receiver.url, LOCAL.model_copy(update={"timeout_s": 0.1}))
        assert answer.verdict is Verdict.TRY_AGAIN


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiving() as receiver:
        assert sent(receiver.url).verdict is Verdict.DELIVERED


def test_a_setting_lets_webhooks_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy finds the name: no one else here knows hooks.example."""
    with receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{receiver.port}")
        monkeypatch.setenv("NO_PROXY", "other.example")
        through = LOCAL.model_copy(update={"use_proxy": True})
        assert sent("http://hooks.example/x", through).verdict is Verdict.DELIVERED
        assert [received.path for received in receiver.received] == ["http://hooks.example/x"]
        assert sent("http://hooks.example/x").verdict is Verdict.TRY_AGAIN
        assert sent("http://10.0.0.1/", through.model_copy(update={"allow_private": False})).verdict is Verdict.REFUSED
        assert len(receiver.received) == 1
    unreachable = sent("http://hooks.example/x", through)
    assert unreachable.verdict is Verdict.TRY_AGAIN
    assert unreachable.reason.endswith(f", through the proxy http://127.0.0.1:{receiver.port}")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00::1", "100.64.0.1"]
)
@pytest.mark.parametrize("beside", [[], [PUBLIC]])
def test_a_name_with_a_private_address_is_never_connected_to(
    redis_settings: RedisSettings, address: str, beside: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    completed_job(redis_settings, "https://hooks.example/")
    worker = WebhookWorker(redis_settings, WebhookSettings(secret=SECRET), lambda *_: [*beside, address])
    worker.deliver_due()
    assert worker.pending() == {}
    assert f"hooks.example is at {address}, which is no public address" in caplog.text


def test_a_job_stored_when_private_addresses_were_allowed_is_refused_later(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_job(redis_settings, receiver.url)
        worker = WebhookWorker(redis_settings, WebhookSettings(secret=SECRET))
        worker.deliver_due()
        assert (worker.pending(), receiver.received) == ({}, [])


class Carrier(httpx2.AsyncBaseTransport):
    """Carries nothing, and remembers where it should have."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(204, stream=httpx2.ByteStream(b""))


def test_a_name_that_changes_its_address_is_resolved_once() -> None:
    answers = [[PUBLIC], ["127.0.0.1"]]
    carrier = Carrier()
    sender = WebhookSender(WebhookSettings(secret=SECRET), resolver=lambda *_: answers.pop(0), transport=carrier)
    assert sender.send("https://hooks.example:8443/a", "{}", {}).verdict is Verdict.DELIVERED
    assert len(answers) == 1
    (request,) = carrier.requests
    assert (request.url.host, request.url.port) == (PUBLIC, 8443)
    assert request.headers["host"] == "hooks.example:8443"
    assert request.extensions["sni_hostname"] == "hooks.example"
    assert sender.send("https://hooks.example:8443/a", "{}", {}).verdict is Verdict.REFUSED
    assert len(carrier.requests) == 1


def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    with receiving() as receiver:
        url = f"http://hooks.example:{receiver.port}/"
        assert sent(url, resolver=lambda *_: ["127.9.9.9", "127.0.0.1"]).verdict is Verdict.DELIVERED
        assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


@pytest.mark.usefixtures("processes")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_the_certificate_is_checked_for_the_name(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.example"
    more = ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with receiving(tls=server) as receiver:
        for name, verdict in (("hooks.example", Verdict.DELIVERED), ("other.example", Verdict.TRY_AGAIN)):
            url = f"https://{name}:{receiver.port}/"
            answer = sent(url, resolver=lambda *_: ["127.0.0.1"], ssl_context=trusting)
            assert answer.verdict is verdict, answer
        assert len(receiver.received) == 1
