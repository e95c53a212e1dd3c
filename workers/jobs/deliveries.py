"""Webhook deliveries in Redis (a transactional outbox): the script that makes a transition also writes its delivery.

A process claims a delivery that is due, which moves its due time ahead: no two processes attempt it at once, and it is
only late when a process dies. Every later call carries the claim's token, so that a message that arrives twice or too
late changes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.layout import check_layout
from workers.jobs.redis.scripts import BEGIN, DUE, SETTLE

# Longer than an attempt takes together with the wait for a free worker.
_HOLD_S = 60.0
# Claims at a time, over all processes. Slow receivers hold no more than these of a worker's threads.
MOST_OF_OWNER = 16
MOST_TO_RECEIVER = 8


@dataclass(frozen=True)
class Delivery:
    """A delivery of a job's event to ``url``, in its attempt number ``attempt``. ``created_at`` is unix seconds."""

    id: str
    token: str
    attempt: int
    job_id: str
    kind: str
    created_at: float
    url: str
    model: str
    metadata: Mapping[str, str] | None
    traceparent: str | None = None


class Deliveries:
    """All deliveries. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, hold_s: float = _HOLD_S) -> None:
        """``hold_s``: how long a claim holds before the delivery is due again."""
        self._hold_ms = int(hold_s * 1000)
        self._keys = Keys.of(redis_settings)
        self._redis = connect(redis_settings)
        self._due = self._redis.register_script(DUE.source(self._keys))
        self._begin = self._redis.register_script(BEGIN.source(self._keys))
        self._settle = self._redis.register_script(SETTLE.source(self._keys))

    def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ConfigurationError when this worker may not go on."""
        check_layout(self._redis, self._keys)

    def claim_due(self, limit: int) -> list[tuple[str, str]]:
        """Claim due deliveries until ``limit`` messages wait for a worker, owner by owner. Returns ids and tokens."""
        with redis_errors():
            room = limit - self._redis.llen(self._keys.webhook_messages)
            if room <= 0:
                return []
            bounds = {"limit": room, "per_owner": MOST_OF_OWNER, "per_receiver": MOST_TO_RECEIVER}
            found = [part.decode() for part in self._due(**DUE.call(self._keys, hold_ms=self._hold_ms, **bounds))]
        return list(zip(found[::2], found[1::2], strict=True))

    def begin(self, event_id: str, token: str) -> Delivery | None:
        """Begin an attempt; None when the claim no longer holds."""
        call = BEGIN.call(self._keys, event_id=event_id, token=token, hold_ms=self._hold_ms)
        with redis_errors():
            found = [part.decode() for part in self._begin(**call)]
        if not found:
            return None
        stored = dict(zip(found[1::2], found[2::2], strict=True))
        return Delivery(
            id=event_id,
            token=found[0],
            attempt=int(stored["attempts"]),
            job_id=stored["job_id"],
            kind=stored["type"],
            created_at=float(stored["created_at"]),
            url=stored["url"],
            **json.loads(stored["data"]),
        )

    def try_again(self, delivery: Delivery, delay_s: float) -> None:
        """Make the delivery due again in so many seconds."""
        self._settled(delivery, int(delay_s * 1000))

    def end(self, delivery: Delivery) -> None:
        """Delete the delivery: it succeeded, or is given up."""
        self._settled(delivery, None)

    def _settled(self, delivery: Delivery, delay_ms: int | None) -> None:
        with redis_errors():
            self._settle(**SETTLE.call(self._keys, event_id=delivery.id, token=delivery.token, delay_ms=delay_ms))
