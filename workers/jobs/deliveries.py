"""The outbox of webhooks: events that clients' servers are to be told of, written by the transitions themselves.

A delivery is claimed when it is due, which moves its due time ahead: no two processes make it at once, and one that
dies with it only makes it late. The token of a claim goes into every later call, so that a message that comes twice or
too late does nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.layout import LAYOUT_SCRIPT, accept_layout, layout_arguments, layout_keys
from workers.jobs.redis.scripts import script

# Longer than an attempt takes, with the wait for a free worker.
_HOLD_S = 60.0


@dataclass(frozen=True)
class Delivery:
    """One attempt, the ``attempt``-th, to tell ``url`` of a job's event. ``created_at`` is unix seconds."""

    id: str
    token: str
    attempt: int
    job_id: str
    kind: str
    created_at: float
    url: str
    model: str
    metadata: Mapping[str, str] | None


class Deliveries:
    """The outbox. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings, hold_s: float = _HOLD_S) -> None:
        """``hold_s``: how long a claim holds before the delivery is due again."""
        self._hold_ms = int(hold_s * 1000)
        self._redis = connect(redis_settings)
        self._layout = self._redis.register_script(LAYOUT_SCRIPT)
        self._due = self._redis.register_script(script("due"))
        self._begin = self._redis.register_script(script("begin"))
        self._settle = self._redis.register_script(script("settle"))

    def check_layout(self) -> None:
        """Compare the layout's version in Redis. Raises ConfigurationError when this worker may not go on."""
        with redis_errors():
            answer = self._layout(keys=layout_keys(), args=layout_arguments())
        accept_layout(answer)

    def claim_due(self, limit: int) -> list[tuple[str, str]]:
        """Claim deliveries that are due, so many that ``limit`` messages wait for a worker. Returns ids and tokens."""
        with redis_errors():
            room = limit - int(self._redis.llen(keys.WEBHOOK_QUEUE))
            if room <= 0:
                return []
            found = [part.decode() for part in self._due(args=[self._hold_ms, room])]
        return list(zip(found[::2], found[1::2], strict=True))

    def begin(self, event_id: str, token: str) -> Delivery | None:
        """Begin an attempt; None when the claim no longer holds."""
        with redis_errors():
            found = [part.decode() for part in self._begin(args=[event_id, token, self._hold_ms])]
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
        with redis_errors():
            self._settle(args=[delivery.id, delivery.token, int(delay_s * 1000)])

    def end(self, delivery: Delivery) -> None:
        """Take the delivery away: it was made, or never will be."""
        with redis_errors():
            self._settle(args=[delivery.id, delivery.token, ""])
