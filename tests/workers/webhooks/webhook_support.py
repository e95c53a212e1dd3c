"""A server that receives webhooks, and a webhook worker whose deliveries a test starts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

from openai import OpenAI

from config.settings import RedisSettings, WebhookSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import a_request, client, ended, put_in
from workers.jobs.deliveries import Deliveries
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions, Webhook
from workers.jobs.store import Submission
from workers.net.public_address import Resolver
from workers.webhooks.delivery import DeliveryAttempts
from workers.webhooks.sender import WebhookSender

SECRET = "whsec_c2VjcmV0IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXM="
OTHER_SECRET = "an-other-secret-with-24-bytes-or-more"
PRIVATE_URLS = [
    *("https://127.0.0.1/", "https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://localhost/"),
    *("https://169.254.169.254/latest/meta-data", "https://10.0.0.1:8443/", "https://100.64.0.1/", "https://0.0.0.0/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[64:ff9b::7f00:1]/"),
    *("https://localhost./", "https://127.0.0.1./", "https://user:secret@192.168.0.1/"),
]
WRONG_URLS = ["ftp://a.example/", "file:///etc/passwd", "a.example", "https://", "https://h:x/", "https://h:0/", "//h/"]
LOCAL = WebhookSettings(secret=SECRET, allow_private=True, timeout_s=5.0, first_retry_s=0.01)


@dataclass(frozen=True)
class Received:
    """A received request."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """The state of the server: what it has received, and how it answers.

    It gives the statuses and headers of ``answers`` in order, then 200, each with ``body``. Answers wait until ``gate``
    is set. ``cut_off`` is set when a sender closes the connection during the answer.
    """

    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    body: bytes = b"thanks"
    cut_off: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@contextmanager
def receiving(*statuses: int, tls: SSLContext | None = None) -> Iterator[Receiver]:
    """Run a server that answers with these statuses, then with 200; with ``tls`` it speaks HTTPS."""
    receiver = Receiver(answers=[(status, {}) for status in statuses])
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            receiver.gate.wait(30)
            status, more = receiver.answers.pop(0) if receiver.answers else (200, {})
            try:
                self._answer(status, more)
            except ConnectionError:
                receiver.cut_off.set()
                self.close_connection = True

        def _answer(self, status: int, more: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(receiver.body)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def job_with_webhook(settings: RedisSettings, url: str, *events: str, **options: Any) -> Job:
    webhook = Webhook.model_validate({"url": url, **({"events": events} if events else {})})
    return put_in(settings, Submission(a_request(), JobOptions(webhook=webhook, **options)))[0]


def completed_job(settings: RedisSettings, url: str) -> Job:
    """Return a completed job whose webhook has this URL."""
    return ended(settings, job_with_webhook(settings, url))


def unwrap(received: Received, secret: str = SECRET) -> Any:
    """Verify and parse an event with OpenAI's own client."""
    with OpenAI(api_key="unused", webhook_secret=secret) as openai:
        return openai.webhooks.unwrap(received.body, received.headers)


@dataclass
class WebhookWorker:
    """A webhook worker in this process that delivers when a test calls it."""

    redis: RedisSettings
    settings: WebhookSettings = LOCAL
    resolver: Resolver | None = None

    def __post_init__(self) -> None:
        self.deliveries = Deliveries(self.redis)
        sender = WebhookSender(self.settings, resolver=self.resolver)
        self.attempts = DeliveryAttempts(self.settings, self.deliveries, sender)

    def deliver_due(self) -> int:
        """Make one attempt at each delivery that is due; return how many were."""
        claimed = self.deliveries.claim_due(100)
        for event_id, token in claimed:
            self.attempts.make(event_id, token)
        return len(claimed)

    def pending(self) -> dict[str, float]:
        """Return the ids of the events to be delivered, and in how many seconds each is due."""
        with client(self.redis) as behind:
            now = float(behind.time()[0])
            return {name: due / 1000 - now for name, due in behind.zrange(keys.deliveries, 0, -1, withscores=True)}

    def make_due(self) -> None:
        """Make every pending delivery due now."""
        with client(self.redis) as behind:
            for name in self.pending():
                behind.zadd(keys.deliveries, {name: 0})
                behind.zadd(keys.deliveries, {name: float(behind.time()[0]) * 1000 - 1000})
