import logging
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from api.request.webhooks import check_webhook
from config.environment import SettingsError, load_settings
from config.settings import RedisSettings, Settings, WebhookSettings
from graphs.errors import InvalidRequest
from tests.redis_support import wait_until
from tests.workers.jobs.jobs_support import GRAPH, cancel, claimed, claims_of, client, ended, erase, submit
from tests.workers.webhooks.webhook_support import (
    LOCAL,
    OTHER_SECRET,
    SECRET,
    Post,
    Received,
    job_with_webhook,
    receiving,
)
from workers.jobs.deliveries import Deliveries
from workers.jobs.job import Job, Status
from workers.jobs.job_options import Webhook
from workers.jobs.redis import keys
from workers.webhooks.delivery import signature_headers
from workers.webhooks.sender import Verdict, WebhookSender
from workers.webhooks.url_check import UrlRefused, check_url

PUBLIC = "93.184.216.34"


def unwrapped(received: Received, secret: str = SECRET) -> Any:
    """The event, as a receiver with OpenAI's own client reads it."""
    with OpenAI(api_key="unused", webhook_secret=secret) as openai:
        return openai.webhooks.unwrap(received.body, received.headers)


def completed_for(redis_settings: RedisSettings, url: str) -> Job:
    return ended(redis_settings, job_with_webhook(redis_settings, url))


# --- the event ---------------------------------------------------------------------------------------------------


def test_an_ended_job_is_told_signed(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        job = job_with_webhook(redis_settings, receiver.url, metadata={"order": "7 ж"})
        before = int(time.time())
        ended(redis_settings, job)
        post = Post(redis_settings)
        assert post.round() == 1
        (received,) = receiver.received
    event = unwrapped(received)
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
    assert post.pending() == {}
    with client(redis_settings) as behind:
        assert behind.keys("imagegen:delivery:*") == []


def test_without_metadata_it_is_null(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_for(redis_settings, receiver.url)
        Post(redis_settings).round()
        assert receiver.received[0].event["data"]["metadata"] is None


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_unless_told_otherwise_every_end_is_an_event_and_nothing_else(
    redis_settings: RedisSettings, status: Status
) -> None:
    with receiving() as receiver:
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url), status)
        Post(redis_settings).round()
        assert [received.event["type"] for received in receiver.received] == [f"image.job.{status}"]


def test_only_the_events_that_were_asked_for_are_told(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        ended(redis_settings, job_with_webhook(redis_settings, receiver.url, "failed", "in_progress", "queued"))
        Post(redis_settings).round()
        kinds = [received.event["data"]["status"] for received in receiver.received]
    assert kinds == ["queued", "in_progress"]
    assert len({received.event["id"] for received in receiver.received}) == 2


def test_steps_are_no_events(redis_settings: RedisSettings) -> None:
    job = job_with_webhook(redis_settings, "https://a.example")
    assert claims_of(redis_settings).progress(claimed(redis_settings, job), 1, 4) == "go on"
    assert Post(redis_settings).pending() == {}


def test_a_job_without_a_webhook_tells_nobody(redis_settings: RedisSettings) -> None:
    ended(redis_settings, submit(redis_settings))
    assert Post(redis_settings).pending() == {}


def test_a_waiting_job_that_is_cancelled_is_told(redis_settings: RedisSettings) -> None:
    cancel(redis_settings, job_with_webhook(redis_settings, "https://a.example"))
    assert len(Post(redis_settings).pending()) == 1


def test_erasing_an_ended_job_does_not_tell_of_a_second_end(redis_settings: RedisSettings) -> None:
    job = completed_for(redis_settings, "https://a.example")
    erase(redis_settings, job)
    assert len(Post(redis_settings).pending()) == 1


def test_deliveries_expire(redis_settings: RedisSettings) -> None:
    completed_for(redis_settings, "https://a.example")
    (event_id,) = Post(redis_settings).pending()
    with client(redis_settings) as behind:
        assert 72 * 3600 - 60 < behind.ttl(keys.delivery(event_id)) <= 72 * 3600
        behind.delete(keys.delivery(event_id))
    post = Post(redis_settings)
    assert post.round() == 0
    assert post.pending() == {}


def test_what_nobody_delivers_leaves_the_list(redis_settings: RedisSettings) -> None:
    with client(redis_settings) as behind:
        behind.zadd(keys.DELIVERIES, {"evt_old": (time.time() - 73 * 3600) * 1000})
    completed_for(redis_settings, "https://a.example")
    assert "evt_old" not in Post(redis_settings).pending()


# --- signatures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_while_secrets_are_rotated_either_verifies(redis_settings: RedisSettings, secret: str) -> None:
    both = WebhookSettings(secret=f"{SECRET} {OTHER_SECRET}", allow_private=True)
    with receiving() as receiver:
        job = completed_for(redis_settings, receiver.url)
        Post(redis_settings, both).round()
        assert unwrapped(receiver.received[0], secret).data.id == job.id
        assert receiver.received[0].headers["webhook-signature"].count("v1,") == 2


def test_another_secret_does_not_verify(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_for(redis_settings, receiver.url)
        Post(redis_settings).round()
        with pytest.raises(InvalidWebhookSignatureError):
            unwrapped(receiver.received[0], OTHER_SECRET)


def test_a_changed_body_does_not_verify(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_for(redis_settings, receiver.url)
        Post(redis_settings).round()
        good = receiver.received[0]
    changed = Received(good.path, good.headers, good.body.replace("completed", "cancelled"))
    with pytest.raises(InvalidWebhookSignatureError):
        unwrapped(changed)


def test_a_stale_timestamp_does_not_verify() -> None:
    headers = signature_headers("evt_1", "{}", [SECRET], time.time() - 400)
    with pytest.raises(InvalidWebhookSignatureError, match="too old"):
        unwrapped(Received("/", headers, "{}"))


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ж", "whsec_a", f"{SECRET} whsec_!!!!"])
def test_a_secret_that_is_no_base64_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"IMAGEGEN_WEBHOOKS__SECRET: .*base64") as caught:
        load_settings(webhooks={"secret": secret})
    assert SECRET not in str(caught.value)


def test_secrets_do_not_show() -> None:
    assert SECRET not in repr(Settings(webhooks=WebhookSettings(secret=SECRET)))


# --- trying again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again_as_the_same_event(redis_settings: RedisSettings, status: int) -> None:
    with receiving(status, status) as receiver:
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings)
        wait_until(lambda: [post.round(), post.pending()][1] == {})
        assert len(receiver.received) == 3
        assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
        assert len({received.body for received in receiver.received}) == 1
        for received in receiver.received:
            unwrapped(received)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 400, 401, 403, 404, 410, 422])
def test_a_refusal_is_final_and_no_redirect_is_followed(
    redis_settings: RedisSettings, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as elsewhere, receiving() as receiver:
        receiver.answers = [(status, {"Location": elsewhere.url})]
        job = completed_for(redis_settings, receiver.url)
        post = Post(redis_settings)
        post.round()
        assert post.pending() == {}
        assert (len(receiver.received), len(elsewhere.received)) == (1, 0)
    assert f"{job.id}: webhook" in caplog.text
    assert f"given up after attempt 1: status {status}" in caplog.text


def test_a_connection_that_is_refused_is_tried_again(
    redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    job = completed_for(redis_settings, f"http://127.0.0.1:{port}/")
    post = Post(redis_settings)
    post.round()
    assert len(post.pending()) == 1
    assert f"{job.id}: webhook" in caplog.text
    assert "not delivered (attempt 1: " in caplog.text


def test_a_name_that_cannot_be_found_is_tried_again(redis_settings: RedisSettings) -> None:
    completed_for(redis_settings, "https://no.such.name.invalid/")
    post = Post(redis_settings)
    post.round()
    assert len(post.pending()) == 1


def test_it_is_given_up_after_so_many_attempts(redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture) -> None:
    three = LOCAL.model_copy(update={"max_attempts": 3})
    with receiving(*[500] * 9) as receiver:
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings, three)
        wait_until(lambda: [post.round(), post.pending()][1] == {})
        assert len(receiver.received) == 3
    assert "given up after attempt 3: status 500" in caplog.text


def test_the_wait_doubles_up_to_the_longest(redis_settings: RedisSettings) -> None:
    slow = LOCAL.model_copy(update={"first_retry_s": 5.0, "longest_retry_s": 60.0})
    waits: list[float] = []
    with receiving(*[500] * 9) as receiver:
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings, slow)
        for _ in range(6):
            post.make_due()
            assert post.round() == 1
            waits += post.pending().values()
    for wait, expected in zip(waits, [5, 10, 20, 40, 60, 60], strict=True):
        assert 0.75 * expected - 0.1 <= wait <= 1.25 * expected + 1.1


@pytest.mark.parametrize("kind", ["seconds", "date", "nonsense"])
def test_a_server_may_ask_for_a_pause(redis_settings: RedisSettings, kind: str) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 900))
    asked = {"seconds": "900", "date": date, "nonsense": "soon"}[kind]
    with receiving() as receiver:
        receiver.answers = [(429, {"Retry-After": asked})]
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings)
        post.round()
        (wait,) = post.pending().values()
    assert wait < 5 if kind == "nonsense" else 890 < wait < 902


def test_a_claim_holds_once(redis_settings: RedisSettings) -> None:
    completed_for(redis_settings, "https://a.example")
    deliveries = Deliveries(redis_settings)
    ((event_id, token),) = deliveries.claim_due(10)
    assert deliveries.claim_due(10) == []
    first = deliveries.begin(event_id, token)
    assert first is not None
    assert deliveries.begin(event_id, token) is None  # the message came twice
    assert deliveries.begin(event_id, first.token) is not None
    deliveries.end(first)  # too late: another attempt holds it
    assert len(Post(redis_settings).pending()) == 1


def test_messages_do_not_pile_up_before_slow_receivers(redis_settings: RedisSettings) -> None:
    for _ in range(3):
        completed_for(redis_settings, "https://a.example")
    deliveries = Deliveries(redis_settings)
    assert len(deliveries.claim_due(2)) == 2
    with client(redis_settings) as behind:
        behind.rpush(keys.WEBHOOK_QUEUE, "a message", "another")
    assert deliveries.claim_due(2) == []
    assert len(deliveries.claim_due(3)) == 1


def test_a_delivery_that_kills_its_worker_is_given_up(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings, LOCAL.model_copy(update={"max_attempts": 2}))
        for _ in range(2):
            post.make_due()
            ((event_id, token),) = post.deliveries.claim_due(10)
            assert post.deliveries.begin(event_id, token) is not None
        post.make_due()
        post.round()
        assert (post.pending(), receiver.received) == ({}, [])


DIES_AFTER_FINISHING = """
import os, signal, sys
from config.settings import JobSettings, RedisSettings
from workers.jobs.claims import Claims
claims = Claims(RedisSettings(url=sys.argv[1]), JobSettings(), "doomed")
claim = claims.claim_next(sys.argv[2])
assert claims.complete(claim, [b"picture"], {})
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
        Post(redis_settings).round()
        assert unwrapped(receiver.received[0]).data.id == job.id


# --- what a server may do ------------------------------------------------------------------------------------------


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
        answer = sent(f"http://127.0.0.1:{listening.getsockname()[1]}/", LOCAL.model_copy(update={"timeout_s": 0.5}))
        assert (answer.verdict, answer.reason) == (Verdict.TRY_AGAIN, "no answer within 0.5 s")
        assert time.monotonic() - started < 3
        dripping.set()
        thread.join(10)


def test_an_endless_answer_is_not_read() -> None:
    with receiving() as receiver:
        receiver.body = b"x" * 100_000_000
        assert sent(receiver.url).verdict is Verdict.DELIVERED
        assert receiver.cut_off.wait(10)


def test_a_server_that_never_answers_is_tried_again() -> None:
    with receiving() as receiver:
        receiver.gate.clear()
        answer = sent(receiver.url, LOCAL.model_copy(update={"timeout_s": 0.3}))
        assert answer.verdict is Verdict.TRY_AGAIN


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiving() as receiver:
        assert sent(receiver.url).verdict is Verdict.DELIVERED


# --- private addresses -------------------------------------------------------------------------------------------

PRIVATE_URLS = [
    *("https://127.0.0.1/", "https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://localhost/"),
    *("https://169.254.169.254/latest/meta-data", "https://10.0.0.1:8443/", "https://100.64.0.1/", "https://0.0.0.0/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[64:ff9b::7f00:1]/"),
    *("https://localhost./", "https://127.0.0.1./", "https://user:secret@192.168.0.1/"),
]
WRONG_URLS = ["ftp://a.example/", "file:///etc/passwd", "a.example", "https://", "https://h:x/", "https://h:0/", "//h/"]


@pytest.mark.parametrize("url", [*PRIVATE_URLS, *WRONG_URLS, "http://a.example/"])
def test_private_addresses_and_other_schemes_are_refused_at_once(url: str) -> None:
    with pytest.raises(UrlRefused, match=r"^A webhook.*\.$"):
        check_url(url, allow_private=False)


@pytest.mark.parametrize("url", [*PRIVATE_URLS, "http://a.example/"])
def test_with_the_setting_they_may_be_told(url: str) -> None:
    assert check_url(url, allow_private=True).host


@pytest.mark.parametrize("url", WRONG_URLS)
def test_other_schemes_are_never_told(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00::1", "100.64.0.1"]
)
@pytest.mark.parametrize("beside", [[], [PUBLIC]])
def test_a_name_that_leads_to_a_private_address_is_never_connected_to(
    redis_settings: RedisSettings, address: str, beside: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    completed_for(redis_settings, "https://hooks.example/")
    post = Post(redis_settings, WebhookSettings(secret=SECRET), lambda *_: [*beside, address])
    post.round()
    assert post.pending() == {}
    assert f"hooks.example is at {address}, which is no public address" in caplog.text


def test_a_job_stored_when_private_addresses_were_allowed_is_refused_later(redis_settings: RedisSettings) -> None:
    with receiving() as receiver:
        completed_for(redis_settings, receiver.url)
        post = Post(redis_settings, WebhookSettings(secret=SECRET))
        post.round()
        assert (post.pending(), receiver.received) == ({}, [])


class Carrier(httpx.AsyncBaseTransport):
    """Carries nothing, and remembers where it should have."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(204, stream=httpx.ByteStream(b""))


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


# --- what is refused when a job is submitted ------------------------------------------------------------------------


def refusal(url: str, settings: WebhookSettings) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        check_webhook(Webhook(url=url), settings)
    return caught.value.param, caught.value.message


def test_without_a_secret_no_job_may_have_a_webhook() -> None:
    param, message = refusal("https://a.example/", WebhookSettings())
    assert param == "webhook"
    assert "IMAGEGEN_WEBHOOKS__SECRET" in message


@pytest.mark.parametrize("url", [*PRIVATE_URLS, *WRONG_URLS])
def test_a_wrong_address_is_refused_by_its_name(url: str) -> None:
    assert refusal(url, WebhookSettings(secret=SECRET))[0] == "webhook.url"


def test_logs_do_not_tell_what_a_url_keeps_secret(
    redis_settings: RedisSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with receiving(500) as receiver:
        url = f"http://user:password@127.0.0.1:{receiver.port}/?token=hidden"
        completed_for(redis_settings, url)
        post = Post(redis_settings)
        wait_until(lambda: [post.round(), post.pending()][1] == {})
        assert receiver.received[0].headers["authorization"].startswith("Basic ")
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("workers."))
    assert "delivered" in ours
    assert "password" not in ours
    assert "hidden" not in ours
