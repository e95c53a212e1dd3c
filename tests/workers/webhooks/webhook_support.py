"""A client's server that webhooks are delivered to, and a webhook worker driven by hand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

from config.settings import RedisSettings, WebhookSettings
from tests.workers.jobs.jobs_support import a_request, client, put_in
from workers.jobs.deliveries import Deliveries
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions, Webhook
from workers.jobs.redis import keys
from workers.jobs.store import Submission
from workers.net.public_address import Resolver
from workers.webhooks.delivery import DeliveryAttempts
from workers.webhooks.sender import WebhookSender

SECRET = "whsec_c2VjcmV0IG9mIHRoaXMgdGVzdCwgMzIgYnl0ZXM="
OTHER_SECRET = "an other secret".replace(" ", "-")
LOCAL = WebhookSettings(secret=SECRET, allow_private=True, timeout_s=5.0, first_retry_s=0.01)


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """``answers``: statuses and headers to give, in order; then 200. ``gate``: answers wait for it.

    ``cut_off``: a sender went away while it was answered.
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
    """Run a server that answers with these statuses, then with 200."""
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


@dataclass
class Post:
    """A webhook worker's hand: claims what is due and delivers it, here."""

    redis: RedisSettings
    settings: WebhookSettings = LOCAL
    resolver: Resolver | None = None

    def __post_init__(self) -> None:
        self.deliveries = Deliveries(self.redis)
        self.attempts = DeliveryAttempts(
            self.settings, self.deliveries, WebhookSender(self.settings, resolver=self.resolver)
        )

    def round(self) -> int:
        """Deliver what is due now; returns how much was."""
        claimed = self.deliveries.claim_due(100)
        for event_id, token in claimed:
            self.attempts.make(event_id, token)
        return len(claimed)

    def pending(self) -> dict[str, float]:
        """The events that are still to be told, and in how many seconds."""
        with client(self.redis) as behind:
            now = float(behind.time()[0])
            return {name: due / 1000 - now for name, due in behind.zrange(keys.DELIVERIES, 0, -1, withscores=True)}

    def make_due(self) -> None:
        """Let the time pass until everything is due."""
        with client(self.redis) as behind:
            for name in self.pending():
                behind.zadd(keys.DELIVERIES, {name: 0})
                behind.zadd(keys.DELIVERIES, {name: float(behind.time()[0]) * 1000 - 1000})
