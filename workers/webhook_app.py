"""A webhook worker as Celery starts it: ``celery -A workers.webhook_app worker`` (``imagegen worker --webhooks``).

A process of its own, so that a slow receiver never keeps a device waiting. It knows neither graphs nor OpenVINO, and
its threads spend their time waiting for other servers.
"""

import logging
from functools import cache, partial
from typing import Any

from celery import signals

from config.environment import load_settings
from config.log_setup import configure_logging
from graphs.errors import ServiceUnavailable
from workers.jobs.broker import DELIVER_WEBHOOK, make_celery, send_delivery
from workers.jobs.deliveries import Deliveries
from workers.webhooks.delivery import Courier
from workers.webhooks.poller import Dispatch
from workers.webhooks.sender import Sender

log = logging.getLogger(__name__)

settings = load_settings()
app = make_celery(settings)
_dispatch: list[Dispatch] = []


@cache
def courier() -> Courier:
    """Return this process's courier."""
    return Courier(settings.webhooks, Deliveries(settings.redis), Sender(settings.webhooks))


@app.task(name=DELIVER_WEBHOOK)
def deliver_webhook(event_id: str, token: str) -> None:
    """Make a delivery."""
    try:
        courier().deliver(event_id, token)
    except ServiceUnavailable as error:
        log.warning("webhook %s: %s; it will be due again", event_id, error)


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(settings.log, quiet=("celery", "kombu", "amqp", "httpx", "httpcore"))


@signals.worker_ready.connect
def _start_dispatch(**_: Any) -> None:
    courier()
    dispatch = Dispatch(Deliveries(settings.redis), partial(send_delivery, app))
    dispatch.start()
    _dispatch.append(dispatch)
    log.info("webhook worker, signing with %d secrets", len(settings.webhooks.secrets))


@signals.worker_shutting_down.connect
def _stop_dispatch(**_: Any) -> None:
    for dispatch in _dispatch:
        dispatch.stop()
