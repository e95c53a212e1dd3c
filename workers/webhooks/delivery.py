"""One attempt at a webhook delivery: sign the event, send it, then end the delivery or schedule the next attempt.

The body is OpenAI's thin event. The signature follows Standard Webhooks (https://www.standardwebhooks.com).
"""

import json
import logging
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from config.log_context import logged_with
from config.settings import WebhookSettings
from config.traceparent import trace_id
from workers.jobs.deliveries import Deliveries, Delivery
from workers.webhooks.sender import Answer, Verdict, WebhookSender

log = logging.getLogger(__name__)

# A longer Retry-After is cut to this, so that the next attempt comes before the delivery expires.
_LONGEST_RETRY_AFTER_S = 24 * 3600.0
_BASE64_SECRET = "whsec_"  # noqa: S105 - the prefix of a secret in base64


class DeliveryAttempts:
    """Makes attempts at deliveries; several threads and processes may use it at once."""

    def __init__(self, settings: WebhookSettings, deliveries: Deliveries, sender: WebhookSender) -> None:
        self._settings = settings
        self._deliveries = deliveries
        self._sender = sender

    def make(self, event_id: str, token: str) -> None:
        """Make one attempt, unless the claim with this token no longer holds.

        Raises ServiceUnavailable; the delivery then becomes due again when its claim ends.
        """
        delivery = self._deliveries.begin(event_id, token)
        if delivery is None:
            return
        with logged_with(job_id=delivery.job_id, trace_id=trace_id(delivery.traceparent)):
            self._attempt(delivery)

    def _attempt(self, delivery: Delivery) -> None:
        if delivery.attempt > self._settings.max_attempts:  # the process of the last attempt died during it
            self._give_up(delivery, "every attempt broke off")
            return
        body = event_body(delivery)
        headers = signature_headers(delivery.id, body, self._settings.secrets, time.time())
        if delivery.traceparent is not None:
            headers["traceparent"] = delivery.traceparent
        answer = self._sender.send(delivery.url, body, headers)
        if answer.verdict is Verdict.DELIVERED:
            self._deliveries.end(delivery)
            log.info("%s: webhook %s (%s) delivered", delivery.job_id, delivery.id, delivery.kind)
        elif answer.verdict is Verdict.REFUSED or delivery.attempt >= self._settings.max_attempts:
            self._give_up(delivery, answer.reason)
        else:
            self._try_again(delivery, answer)

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        self._deliveries.end(delivery)
        what = f"webhook {delivery.id} ({delivery.kind})"
        log.warning("%s: %s given up after attempt %d: %s", delivery.job_id, what, delivery.attempt, reason)

    def _try_again(self, delivery: Delivery, answer: Answer) -> None:
        delay_s = max(self._backoff_s(delivery.attempt), min(answer.retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))
        self._deliveries.try_again(delivery, delay_s)
        what = f"webhook {delivery.id} ({delivery.kind})"
        log.warning(
            "%s: %s not delivered (attempt %d: %s), again in %.1f s",
            *(delivery.job_id, what, delivery.attempt, answer.reason, delay_s),
        )

    def _backoff_s(self, attempt: int) -> float:
        """Return exponential backoff in seconds, with jitter, so that deliveries that failed together are spread."""
        # Without the limit of 60, a large attempt number overflows a float.
        doubled = self._settings.first_retry_s * 2.0 ** min(attempt - 1, 60)
        return float(min(doubled, self._settings.longest_retry_s)) * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret


def event_body(delivery: Delivery) -> str:
    """Return the event as JSON; it is the same at every attempt."""
    data = {
        "id": delivery.job_id,
        "status": delivery.kind,
        "model": delivery.model,
        "metadata": delivery.metadata,
    }
    event = {
        "id": delivery.id,
        "object": "event",
        "created_at": int(delivery.created_at),
        "type": f"image.job.{delivery.kind}",
        "data": data,
    }
    return json.dumps(event, separators=(",", ":"))


def signature_headers(event_id: str, body: str, secrets: Sequence[str], now: float) -> dict[str, str]:
    """Return the headers that prove the sender, with one signature for each secret. ``now`` is unix seconds."""
    moment = datetime.fromtimestamp(int(now), UTC)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(_signer(secret).sign(event_id, moment, body) for secret in secrets),
    }


def _signer(secret: str) -> Webhook:
    """Return the library's signer, which decodes every ``str`` as base64.

    OpenAI's client decodes only a secret that begins with ``whsec_``, so any other one is passed as bytes.
    """
    return Webhook(secret if secret.startswith(_BASE64_SECRET) else secret.encode())
