"""``imagegen worker``: becomes a Celery worker, for one graph on one device or for webhooks."""

import os
import sys
from typing import Annotated, Literal, NoReturn

import typer

from cli.errors import UserError
from cli.local.child_environment import PROJECT_ROOT, child_environment
from cli.local.data_folder import require_shared_memory, require_temporary_folder
from cli.local.redis_address import with_redis
from cli.options import repository_from, with_setting_options
from config.settings import Settings
from graphs.repository.configuration import check_worker_device
from graphs.repository.repository import Repository
from workers.jobs.redis.layout import check_layout_at_start

Webhooks = Annotated[
    bool, typer.Option("--webhooks", help="Deliver webhooks, in place of serving a graph (IMAGEGEN_WEBHOOKS__SECRET).")
]


@with_setting_options
def worker(settings: Settings, webhooks: Webhooks = False) -> None:
    """Run a worker: one graph on one device. Start as many as there are devices."""
    require_temporary_folder()
    require_shared_memory()
    settings = with_redis(settings, "worker")
    check_layout_at_start(settings.redis)
    if webhooks:
        if not settings.webhooks.secrets:
            raise UserError("webhooks are signed, with IMAGEGEN_WEBHOOKS__SECRET, which is not set.")
        _become(worker_command("webhooks"), worker_environment(settings))
    repository = repository_from(settings)
    name = choose_graph(repository, settings.worker.graph)
    if settings.worker.device:
        check_worker_device(repository.graphs[name], settings.worker.device)
    chosen = settings.model_copy(update={"worker": settings.worker.model_copy(update={"graph": name})})
    _become(worker_command("graph", name), worker_environment(chosen))


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    # A worker runs for months and must not keep the folder that it was started in.
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


def worker_command(kind: Literal["graph", "webhooks"], *shown: str) -> list[str]:
    """Return the command line of a Celery worker, which reads its settings from its environment.

    ``shown`` is for people who read the list of processes: the name of the graph.
    """
    return [sys.executable, "-P", "-m", "workers.start", kind, *shown]


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a Celery worker.

    SIGTERM is Celery's warm shutdown, which waits for running tasks. The time of a delivery is limited; the workers of
    graphs limit their shutdown themselves (workers/process/drain.py).
    """
    environment = child_environment(settings)
    # Celery warns root of unpickling messages of others; here messages are JSON and no other format is accepted.
    warnings = [environment.get("PYTHONWARNINGS", ""), "ignore:You're running the worker with superuser"]
    return environment | {"PYTHONWARNINGS": ",".join(filter(None, warnings))}
