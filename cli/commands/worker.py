"""``imagegen worker``: becomes a Celery worker, for one graph on one device or for webhooks."""

import os
import re
import sys
import uuid
from typing import Annotated, NoReturn

import typer

from cli.errors import UserError
from cli.local.child_environment import PROJECT_ROOT, child_environment
from cli.options import repository_from, require_redis_url, with_setting_options
from config.settings import Settings
from graphs.repository.configuration import check_worker_device
from graphs.repository.repository import Repository
from workers.jobs.redis.keys import WEBHOOK_QUEUE, queue_name
from workers.jobs.redis.layout import check_layout_at_start

Webhooks = Annotated[
    bool, typer.Option("--webhooks", help="Deliver webhooks, in place of serving a graph (IMAGEGEN_WEBHOOKS__SECRET).")
]
# Deliveries spend most of their time waiting for other servers.
_WEBHOOK_THREADS = 32


@with_setting_options
def worker(settings: Settings, webhooks: Webhooks = False) -> None:
    """Run a worker: one graph on one device. Start as many as there are devices."""
    require_redis_url(settings.redis.url, "worker")
    check_layout_at_start(settings.redis)
    if webhooks:
        if not settings.webhooks.secrets:
            raise UserError("webhooks are signed, with IMAGEGEN_WEBHOOKS__SECRET, which is not set.")
        _become(webhook_command(settings), worker_environment(settings))
    repository = repository_from(settings)
    name = choose_graph(repository, settings.worker.graph)
    if settings.worker.device:
        check_worker_device(repository.graphs[name], settings.worker.device)
    chosen = settings.model_copy(update={"worker": settings.worker.model_copy(update={"graph": name})})
    _become(celery_command(chosen, name), worker_environment(chosen))


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    # Celery puts the working folder first on the import path, so it must be the one that holds our packages.
    os.chdir(PROJECT_ROOT)
    os.execve(sys.executable, command, environment)  # noqa: S606


def choose_graph(repository: Repository, asked: str | None) -> str:
    """Return the name of the graph to serve; without ``asked``, the only one. Raises UserError."""
    names = sorted(repository.graphs)
    if not asked and len(names) == 1:
        return names[0]
    if asked in repository.failed:
        raise UserError(f"{asked!r} cannot be served: {repository.failed[asked]}")
    if not asked:
        raise UserError(f"several graphs are defined; give --graph with one of: {', '.join(names)}.")
    if asked not in names:
        raise UserError(f"there is no graph {asked!r}; defined: {', '.join(names)}.")
    return asked


def celery_command(settings: Settings, graph: str) -> list[str]:
    """Return the command line of the Celery worker for a graph.

    The pool is prefork with one child: a crash in native code ends the child, not the worker. Gossip, mingle and
    Celery's heartbeat are not used here, so they are off.
    """
    pool = ["--pool", "prefork", "--concurrency", "1"]
    return _command("workers.app", graph, queue_name(graph), pool, settings)


def webhook_command(settings: Settings) -> list[str]:
    """Return the command line of the Celery worker that delivers webhooks."""
    pool = ["--pool", "threads", "--concurrency", str(_WEBHOOK_THREADS)]
    return _command("workers.webhook_app", "webhooks", WEBHOOK_QUEUE, pool, settings)


def _command(app: str, node: str, queue: str, pool: list[str], settings: Settings) -> list[str]:
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", node)
    return [
        *(sys.executable, "-P", "-m", "celery", "--quiet", "-A", app, "worker"),
        *pool,
        *("--queues", queue),
        *("--hostname", f"{name}-{uuid.uuid4().hex[:8]}@%h"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", settings.log.level),
    ]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a Celery worker.

    SIGTERM is Celery's warm shutdown, which waits for running tasks. The time of a delivery is limited; the workers of
    graphs limit their shutdown themselves (workers/process/drain.py).
    """
    environment = child_environment(settings)
    # Celery warns root of unpickling messages of others; here messages are JSON and no other format is accepted.
    warnings = [environment.get("PYTHONWARNINGS", ""), "ignore:You're running the worker with superuser"]
    return environment | {"PYTHONWARNINGS": ",".join(filter(None, warnings))}
