"""A worker process as Celery starts it: ``celery -A workers.app worker`` (``imagegen worker`` types it for you).

The main process supervises; its one child imports OpenVINO, loads the pipelines once and draws. Nothing with
threads of its own may exist before the fork, so the engine is imported in the child only.
"""

import logging
import os
import secrets
import signal
import socket
from functools import cache, partial
from typing import Any

from celery import signals

from config.environment import load_settings
from config.log_context import log_always_with
from config.log_setup import configure_logging
from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError, EngineError
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import load_served
from workers.engine.factory import make_engine
from workers.jobs.adapter_registry import AddedAdapters
from workers.jobs.broker import make_celery, wake_worker
from workers.jobs.claims import Claims
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.recovery import Recovery
from workers.process.adapter_sync import EngineAdapters
from workers.process.drain import Drain, end_process
from workers.process.orders import Orders
from workers.process.report_board import LoadReport, ReportBoard
from workers.process.runner import Runner
from workers.process.supervision import PoolView, Supervision

log = logging.getLogger(__name__)

settings = load_settings()
app = make_celery(settings)
app.conf.imports = ("workers.tasks",)
# One name for this worker process and all children it will have: who holds a claim.
OWNER = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
_board = ReportBoard()
_orders = Orders()
_supervision: list[Supervision] = []


@cache
def served_graph() -> Graph:
    """Return the graph this worker serves: the configured one, or the repository's only one."""
    repository = load_served(**settings.repository.model_dump())
    graph = repository.graphs.get(settings.worker.graph) if settings.worker.graph else repository.base_graph
    if graph is None:
        raise ConfigurationError(f"Set the graph this worker serves: one of {', '.join(repository.graphs)}.")
    return graph


def device() -> tuple[str, ...]:
    """Return the device of this worker: its own setting, else the graph's."""
    return tuple(settings.worker.device.split()) if settings.worker.device else served_graph().device


@cache
def runner() -> Runner:
    """Return this child's runner; the first call loads the model. Raises EngineError."""
    graph = served_graph()
    engine = make_engine(
        settings.worker.engine,
        graph,
        read_model_facts(graph.models_path),
        device=device(),
        cache_dir=settings.worker.cache_dir,
        simulated_step_s=settings.worker.simulated_step_s,
        simulated_fatal_words=settings.worker.simulated_fatal_words,
    )
    operations = engine.load()
    _board.write(LoadReport(os.getpid(), tuple(sorted(operation.value for operation in operations))))
    added = EngineAdapters(engine, graph, AddedAdapters(settings.redis, graph.name), settings.downloads)
    claims = Claims(settings.redis, settings.jobs, OWNER)
    return Runner(
        claims,
        engine,
        graph.name,
        _board.set_running,
        added.prepare,
        _orders.now,
        now_storing=_board.set_storing,
        time_limit_s=settings.jobs.time_limit_s,
    )


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log_always_with(graph=settings.worker.graph)
    configure_logging(settings.log, quiet=("celery", "kombu", "amqp"))


@signals.worker_process_init.connect
def _load_in_child(**_: Any) -> None:
    # Stopping is the main process's affair, also where the signal goes to all of a group (systemd's default).
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        runner()
    except (ConfigurationError, EngineError) as error:
        _board.write(LoadReport(os.getpid(), error=error.message))


@signals.worker_ready.connect
def _supervise(sender: Any, **_: Any) -> None:
    graph = served_graph().name
    recovery = Recovery(settings.redis, settings.jobs, OWNER, graph, partial(wake_worker, app))
    presence = WorkerPresence(
        name=f"{sender.hostname}/{OWNER}",
        graph=graph,
        device=" ".join(device()),
        ready=False,
        operations=(),
        seen_at=0.0,
    )
    pool = _pool_view(sender)
    drain = Drain(recovery, _orders, pool.living, settings.worker.shutdown_timeout_s)
    supervision = Supervision(recovery, presence, _board, pool, drain)
    supervision.start()
    _supervision.append(supervision)
    # However it is told to stop, it drains: Celery's cold shutdown would cost the running job an attempt.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.getsignal(signal.SIGTERM))
    log.info("worker for %r on %s, loading the model", graph, presence.device)


@signals.task_failure.connect
def _child_lost(**_: Any) -> None:
    """Sent in the main process when the child died with the task, or Celery's own limit ends both."""
    for supervision in _supervision:
        supervision.child_lost()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    if not _supervision:  # not connected yet, so nothing runs; Celery would wait until the model is loaded
        end_process()
    for supervision in _supervision:
        supervision.drain()


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    for supervision in _supervision:
        supervision.stop()


def _pool_view(consumer: Any) -> PoolView:
    return PoolView(
        child_pids=lambda: {process.pid for process in list(consumer.pool._pool._pool)},
        replace_dead_child=lambda: consumer.hub.call_soon(consumer.pool.maintain_pool),
        reconnect=lambda: consumer.hub.call_soon(_lose_connection),
    )


def _lose_connection() -> None:
    """Raised in Celery's event loop: it makes its connection, and its count of open messages, anew."""
    raise ConnectionResetError("the connection to the broker is dead")
