"""Celery as the transport: it wakes a worker, which then takes the next job from the job store.

The truth about jobs and their order is in the store; Celery may lose a message or deliver it twice, and neither
matters (the claim decides, recovery resends). The settings follow what Celery 5.7 on Redis was measured to do;
docs/jobs.md says why each.
"""

from celery import Celery
from kombu.exceptions import OperationalError

from config.settings import Settings
from graphs.errors import ServiceUnavailable
from workers.jobs.redis.connection import redis_url
from workers.jobs.redis.keys import WEBHOOK_QUEUE, queue_name

RUN_JOB = "imagegen.run_job"
DELIVER_WEBHOOK = "imagegen.deliver_webhook"
# Celery's own limit is a last resort behind ours, and so beyond all that may take long: drawing, and storing while
# Redis is away or full.
_LAST_RESORT_MARGIN_S = 900
# Longer than any task may take: Celery would otherwise hand a running message out again.
_VISIBILITY_MARGIN_S = 3600
_LOAD_TIMEOUT_S = 600


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application, for the API to send with and for a worker to run."""
    last_resort_s = settings.jobs.time_limit_s + settings.jobs.result_ttl_s + _LAST_RESORT_MARGIN_S
    app = Celery("imagegen", broker=redis_url(settings.redis), backend=None, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_create_missing_queues=True,
        task_time_limit=last_resort_s,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=_LOAD_TIMEOUT_S,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Redis at its maxmemory refuses what Celery writes: a reason to come again, not to exit.
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
            "visibility_timeout": last_resort_s + _VISIBILITY_MARGIN_S,
            "socket_timeout": settings.redis.timeout_s,
            "socket_connect_timeout": settings.redis.connect_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


def wake_worker(app: Celery, graph: str) -> None:
    """Send a message that makes a worker of the graph take its next job (blocking). Raises ServiceUnavailable."""
    try:
        app.send_task(RUN_JOB, queue=queue_name(graph))
    except Exception as error:  # a connection that broke meanwhile makes kombu raise AttributeError as well
        raise ServiceUnavailable(f"No worker of {graph!r} could be woken: {error}") from error


def send_delivery(app: Celery, event_id: str, token: str) -> None:
    """Have a webhook worker make the delivery that was claimed with this token. Raises ServiceUnavailable."""
    try:
        app.send_task(DELIVER_WEBHOOK, args=[event_id, token], queue=WEBHOOK_QUEUE)
    except OperationalError as error:
        raise ServiceUnavailable(f"No worker could be told to deliver {event_id}: {error}") from error
