"""Becomes a Celery worker: ``python -m workers.start graph``, or ``webhooks``.

Celery's own command line takes every option from the environment as well (``CELERY_WORKER_AUTOSCALE``, ``NO_COLOR``),
so the worker is made here, from our settings only.
"""

import re
import socket
import sys
import uuid

from celery import Celery

from config.environment import load_settings
from config.settings import Settings
from workers.jobs.redis.keys import WEBHOOK_QUEUE
from workers.process.memory.free_memory import use_one_heap

# Deliveries spend most of their time waiting for other servers.
_WEBHOOK_THREADS = 32


def start_worker(kind: str, settings: Settings) -> int:
    """Run a worker for the graph of the settings or, for the kind ``webhooks``, for deliveries, until it is stopped.

    Returns the exit code. The pool of a graph's worker is prefork with one child: a crash in native code ends the
    child, not the worker.
    """
    if kind == "webhooks":
        from workers.webhook_app import app as webhook_app

        return _run(webhook_app, "threads", _WEBHOOK_THREADS, "webhooks", [WEBHOOK_QUEUE], settings)
    from workers.app import app as graph_app
    from workers.app import queues, served_graph

    return _run(graph_app, "prefork", 1, served_graph().name, queues(), settings)


def _run(app: Celery, pool: str, concurrency: int, node: str, queues: list[str], settings: Settings) -> int:
    """Gossip, mingle and Celery's heartbeat are not used here, so they are off."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", node)
    worker = app.Worker(
        hostname=f"{name}-{uuid.uuid4().hex[:8]}@{socket.gethostname()}",
        pool_cls=pool,
        concurrency=concurrency,
        queues=queues,
        loglevel=settings.log.level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    use_one_heap()
    sys.exit(start_worker(sys.argv[1], load_settings()))
