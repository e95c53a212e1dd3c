"""A delivery's story: send, and then take it off the list or try again later."""

import logging
import random
import time

from config.log_context import logged_with
from config.settings import WebhookSettings
from workers.jobs.deliveries import Deliveries, Delivery
from workers.webhooks.event import body_of, signature_headers
from workers.webhooks.sender import Answer, Sender, Verdict

log = logging.getLogger(__name__)

# A server may ask for a pause, not for so long a one that the delivery expires.
_LONGEST_PAUSE_S = 24 * 3600.0


class Courier:
    """Makes deliveries; any number may be at work, in threads and processes."""

    def __init__(self, settings: WebhookSettings, deliveries: Deliveries, sender: Sender) -> None:
        self._settings, self._deliveries, self._sender = settings, deliveries, sender

    def deliver(self, event_id: str, token: str) -> None:
        """Make an attempt, unless its claim no longer holds. Raises ServiceUnavailable; the delivery stays due."""
        delivery = self._deliveries.begin(event_id, token)
        if delivery is None:
            return
        with logged_with(job_id=delivery.job_id):
            self._attempt(delivery)

    def _attempt(self, delivery: Delivery) -> None:
        if delivery.attempt > self._settings.max_attempts:  # workers died of the last one
            self._give_up(delivery, "every attempt broke off")
            return
        body = body_of(delivery)
        headers = signature_headers(delivery.id, body, self._settings.secrets, time.time())
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
        delay_s = max(self._backoff_s(delivery.attempt), min(answer.retry_after_s or 0.0, _LONGEST_PAUSE_S))
        self._deliveries.try_again(delivery, delay_s)
        what = f"webhook {delivery.id} ({delivery.kind})"
        log.warning(
            "%s: %s not delivered (attempt %d: %s), again in %.1f s",
            *(delivery.job_id, what, delivery.attempt, answer.reason, delay_s),
        )

    def _backoff_s(self, attempt: int) -> float:
        """The wait doubles; some of it is chance, so that what failed together does not come back together."""
        # 2**60 first retries are longer than anything.
        doubled = self._settings.first_retry_s * 2.0 ** min(attempt - 1, 60)
        return float(min(doubled, self._settings.longest_retry_s)) * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
