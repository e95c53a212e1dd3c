"""Celery as the transport: a message wakes a worker, which then claims the next job of the job store.

The store decides on jobs and their order. Celery may lose a message or deliver it twice without harm, because a claim
succeeds once and recovery sends messages again. docs/jobs.md gives the measured reason of each setting (Celery 5.7).
"""

import math
import uuid
from functools import cache

from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps

from config.settings import Settings
from graphs.errors import ServiceUnavailable
from workers.jobs.redis.address import broker_tls, broker_url
from workers.jobs.redis.connection import redis_url, sentinels_of
from workers.jobs.redis.keys import WEBHOOK_QUEUE, Keys

RUN_JOB = "imagegen.run_job"
DELIVER_WEBHOOK = "imagegen.deliver_webhook"
# Longer than any task may take: otherwise Celery would deliver the message of a running task again.
_VISIBILITY_MARGIN_S = 3600
_LOAD_TIMEOUT_S = 600


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application, with which the API sends messages and a worker runs tasks."""
    sentinels = sentinels_of(settings.redis)
    server = sentinels.address.server_url if sentinels else redis_url(settings.redis)
    url = sentinels.address.broker_url() if sentinels else broker_url(server)
    app = Celery("imagegen", broker=url, backend=None, set_as_current=False)
    app.conf.update(
        broker_use_ssl=broker_tls(server),
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_create_missing_queues=True,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=_LOAD_TIMEOUT_S,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        # `celery inspect` and `celery control` are not used here; without them a worker subscribes to no channel.
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis at its maxmemory refuses what Celery writes: the worker retries in place of exiting.
        broker_channel_error_retry=True,
        broker_connection_timeout=settings.redis.connect_timeout_s,
        broker_pool_limit=10,
        broker_pool_acquire_timeout=2,
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        broker_transport_options={
            "visibility_timeout": math.ceil(settings.jobs.last_resort_s) + _VISIBILITY_MARGIN_S,
            "socket_timeout": settings.redis.timeout_s,
            "socket_connect_timeout": settings.redis.connect_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 10,
            **(sentinels.broker_options() if sentinels else {}),
            "global_keyprefix": Keys.of(settings.redis).celery_prefix,
            # The name of no graph's queue has a colon.
            **{f"{name}_key": f":{name}" for name in ("unacked", "unacked_index", "unacked_mutex")},
        },
    )
    return app


class WakeMessages:
    """The messages that wake workers: a script sends one in the same step as it stores a job (lua/shared.lua).

    Celery and Kombu themselves make the first message of each queue, without a connection; those that follow differ
    in their ids only.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._first = cache(self._make)

    def message(self, queue: str) -> str:
        """Return a new message for a queue: that of a graph, or of its workers whose model has one digest."""
        text, task_id, delivery_tag = self._first(queue)
        return text.replace(task_id, str(uuid.uuid4())).replace(delivery_tag, str(uuid.uuid4()))

    def _make(self, queue: str) -> tuple[str, str, str]:
        """Return a message with its two ids, as Kombu's transports put them into a list."""
        task_id = str(uuid.uuid4())
        with Connection("memory://") as connection, connection.channel() as channel:
            self._app.send_task(RUN_JOB, task_id=task_id, queue=queue, producer=connection.Producer(channel))
            # The transport in memory has no other way to its messages as such.
            message = channel._get(queue)  # type: ignore[attr-defined]
        return dumps(message), task_id, message["properties"]["delivery_tag"]


def wake_worker(app: Celery, queue: str) -> None:
    """Send a message that makes a worker of this queue claim its next job (blocking). Raises ServiceUnavailable.

    ``queue`` is that of a graph, or of its workers whose model has one digest (``queue_name``).
    """
    try:
        app.send_task(RUN_JOB, queue=queue)
    except Exception as error:  # kombu also raises AttributeError when a connection breaks meanwhile
        raise ServiceUnavailable(f"No worker of {queue!r} could be woken.", reason=f"{error}.") from error


def send_delivery(app: Celery, event_id: str, token: str) -> None:
    """Send a message that makes a webhook worker attempt a claimed delivery. Raises ServiceUnavailable."""
    try:
        app.send_task(DELIVER_WEBHOOK, args=[event_id, token], queue=WEBHOOK_QUEUE)
    except OperationalError as error:
        raise ServiceUnavailable(f"No worker could be woken to deliver {event_id}.", reason=f"{error}.") from error
