"""The Celery application of a webhook worker; ``imagegen worker --webhooks`` starts it.

It is a process of its own, so that a slow receiver never delays a device. It loads neither graphs nor OpenVINO. It uses
threads, because a delivery mostly waits for the other server.
"""

import logging
import signal
from functools import cache, partial
from typing import Any

from celery import signals

from config.environment import load_settings
from config.log_setup import configure_logging
from config.stop_signal import OWN_STOP_SIGNAL
from graphs.errors import ServiceUnavailable
from workers.jobs.broker import DELIVER_WEBHOOK, make_celery, send_delivery
from workers.jobs.deliveries import Deliveries
from workers.webhooks.delivery import DeliveryAttempts
from workers.webhooks.poller import DeliveryPoller
from workers.webhooks.sender import WebhookSender

log = logging.getLogger(__name__)

settings = load_settings()
app = make_celery(settings)
_pollers: list[DeliveryPoller] = []


@cache
def delivery_attempts() -> DeliveryAttempts:
    """Return this process's only instance; its threads share it."""
    return DeliveryAttempts(settings.webhooks, Deliveries(settings.redis), WebhookSender(settings.webhooks))


@app.task(name=DELIVER_WEBHOOK)
def deliver_webhook(event_id: str, token: str) -> None:
    """Make one attempt at a delivery that the poller has claimed."""
    try:
        delivery_attempts().make(event_id, token)
    except ServiceUnavailable as error:
        log.warning("webhook %s: %s; it will be due again", event_id, error)


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(settings.log, quiet=("celery", "kombu", "amqp", "httpx2", "httpcore2"))


@signals.worker_ready.connect
def _start_poller(**_: Any) -> None:
    delivery_attempts()  # made before the threads need it
    signal.signal(OWN_STOP_SIGNAL, signal.getsignal(signal.SIGTERM))
    poller = DeliveryPoller(Deliveries(settings.redis), partial(send_delivery, app))
    poller.start()
    _pollers.append(poller)
    log.info("webhook worker, signing with %d secrets", len(settings.webhooks.secrets))


@signals.worker_shutting_down.connect
def _stop_poller(**_: Any) -> None:
    for poller in _pollers:
        poller.stop()
