"""An event as it is sent: OpenAI's thin body, signed as Standard Webhooks (https://www.standardwebhooks.com) says."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from workers.jobs.deliveries import Delivery

_BASE64_SECRET = "whsec_"  # noqa: S105 - how a secret in base64 begins


def body_of(delivery: Delivery) -> str:
    """Return the body; it is the same at every attempt."""
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
    """Return the headers that prove who sends this; one signature for each secret. ``now`` is unix seconds."""
    moment = datetime.fromtimestamp(int(now), UTC)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(_signer(secret).sign(event_id, moment, body) for secret in secrets),
    }


def _signer(secret: str) -> Webhook:
    """The library takes every text for base64; OpenAI's client takes only what begins with whsec_ for it."""
    return Webhook(secret if secret.startswith(_BASE64_SECRET) else secret.encode())
