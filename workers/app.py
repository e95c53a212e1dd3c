"""The Celery application of a worker; ``imagegen worker`` starts it.

The main process supervises. Its one child imports OpenVINO, loads the pipelines once and draws. No library with
threads of its own may be loaded before the fork, so only the child imports the engine.
"""

import logging
import os
import secrets
import signal
import socket
from functools import cache, partial
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals

from config.environment import load_settings
from config.log_context import log_always_with
from config.log_setup import configure_logging
from config.machine_cpus import machine_cpus
from config.stop_signal import OWN_STOP_SIGNAL
from graphs.definition.devices import device_shown
from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError, EngineError
from graphs.repository.bundled import load_served
from graphs.repository.repository import Repository
from graphs.repository.served_facts import read_served_facts, served_digest
from workers.engine.factory import make_engine
from workers.engine.simulated_faults import SimulatedDevice
from workers.jobs.adapter_registry import AddedAdapterReader
from workers.jobs.broker import WakeMessages, make_celery, wake_worker
from workers.jobs.claims import Claims
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.recovery import Recovery
from workers.jobs.redis.keys import queue_name
from workers.process.adapter_sync import AdapterSync
from workers.process.child_processes import PoolView
from workers.process.drain import WorkerDrain, end_process
from workers.process.memory.child_memory import ChildMemory
from workers.process.memory.planned_memory import PlannedMemory, plan_memory
from workers.process.runner import Runner
from workers.process.server_paths import ServerPaths
from workers.process.shared_memory import LoadReport, SharedMemory
from workers.process.supervision import Supervision

log = logging.getLogger(__name__)

settings = load_settings()
app = make_celery(settings)
app.conf.imports = ("workers.tasks",)
# The owner of this worker's claims, shared by this process and its children.
OWNER = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
_shared = SharedMemory()
# Empty until Celery is connected to the broker.
_supervision: list[Supervision] = []


@cache
def _repository() -> Repository:
    return load_served(**settings.repository.model_dump())


@cache
def served_graph() -> Graph:
    """Return the graph that this worker serves: the configured one, or the only one of the repository.

    Raises ConfigurationError where none is configured and the repository has several.
    """
    repository = _repository()
    graph = repository.graphs.get(settings.worker.graph) if settings.worker.graph else repository.base_graph
    if graph is None:
        raise ConfigurationError(f"Set the graph this worker serves: one of {', '.join(repository.graphs)}.")
    return graph


@cache
def digest() -> str:
    """Return the digest of this worker's model as it was at the first call, which the main process makes."""
    return served_digest(_repository(), served_graph().name)


def queues() -> list[str]:
    """Return the queues whose messages this worker takes: its model's, and that of all workers of the graph."""
    graph = served_graph().name
    return list(dict.fromkeys([queue_name(graph, digest()), queue_name(graph)]))


def device() -> tuple[str, ...]:
    """Return the device of this worker, as ``make_engine`` takes it: its own setting, or the graph's device."""
    return tuple(settings.worker.device.split()) if settings.worker.device else served_graph().device


@cache
def runner() -> Runner:
    """Return this child's runner; the first call loads the model. Raises EngineError."""
    graph = served_graph()
    facts = read_served_facts(graph)
    if served_digest(_repository(), graph.name) != digest():
        raise ConfigurationError(
            f"{graph.models_path}: The files of this model changed while its worker ran. Start the worker again; "
            "`imagegen serve` does so by itself."
        )
    planned = planned_memory()
    if warning := planned.load_warning(graph.default_resolution or facts.native_resolution):
        log.warning("%r: %s", graph.name, warning)
    engine = make_engine(
        settings.worker.engine,
        graph,
        facts,
        device=device(),
        stand_ins=settings.worker.stand_ins,
        cache_dir=settings.worker.cache_dir,
        most_threads=machine_cpus().most_threads,
        simulated_step_s=settings.worker.simulated_step_s,
        simulated_fatal_words=settings.worker.simulated_fatal_words,
        simulated_device=SimulatedDevice(settings.worker.simulated_breaks_after),
    )
    operations = engine.load()
    _shared.loaded(sorted(operation.value for operation in operations))
    adapters = AdapterSync(engine, graph, AddedAdapterReader(settings.redis, graph.name), settings.downloads)
    claims = Claims(settings.redis, settings.jobs, OWNER, digest(), WakeMessages(app).message)
    return Runner(
        claims,
        engine,
        graph.name,
        _shared,
        time_limit_s=settings.jobs.time_limit_s,
        adapters=adapters,
        paths=server_paths(),
        memory=ChildMemory(os.getpid(), planned.limit_bytes, _shared.memory_reports),
    )


@cache
def server_paths() -> ServerPaths:
    """Return the paths of this worker that no error of a job names. Raises ConfigurationError (``served_graph``)."""
    graph = served_graph()
    own = [graph.models_path, graph.path, settings.worker.cache_dir, settings.lora_folder]
    return ServerPaths([*own, *(adapter.path for adapter in graph.lora_adapters)])


@cache
def planned_memory() -> PlannedMemory:
    """Return the memory that this worker plans with. Raises ConfigurationError as ``served_graph`` does."""
    return plan_memory(settings.worker, served_graph(), device())


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    log_always_with(graph=settings.worker.graph)
    configure_logging(settings.log, quiet=("celery", "kombu", "amqp"))
    logging.getLogger("celery.worker.request").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback from Celery's line about a child that died: it shows Celery's own code only."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(getattr(error, "exc", error), WorkerLostError):  # billiard wraps it, with the text of its traceback
        record.exc_info = None
    return True


@signals.worker_process_init.connect
def _load_in_child(**_: Any) -> None:
    # The main process decides how its child stops. systemd, for one, sends the signal to every process of the group.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        runner()
    except EngineError as error:
        _shared.job_failed(server_paths().left_out_of(error.message))
        _shared.load_reports.write(LoadReport(os.getpid(), error=error.message))
    except ConfigurationError as error:
        _shared.load_reports.write(LoadReport(os.getpid(), error=error.message))


@signals.worker_ready.connect
def _supervise(sender: Any, **_: Any) -> None:
    graph = served_graph().name
    planned = planned_memory()
    recovery = Recovery(settings.redis, settings.jobs, OWNER, graph, partial(wake_worker, app), digest())
    presence = WorkerPresence(
        name=f"{sender.hostname}/{OWNER}",
        graph=graph,
        device=device_shown(device(), settings.worker.stand_ins),
        ready=False,
        operations=(),
        seen_at=0.0,
        memory_limit_bytes=planned.limit_bytes,
        fixed_bytes=planned.need.fixed_bytes if planned.need else 0,
        pixel_bytes=planned.need.pixel_bytes if planned.need else 0,
        digest=digest(),
    )
    pool = _pool_view(sender)
    drain = WorkerDrain(recovery, _shared.commands, pool.living, settings.worker.shutdown_timeout_s)
    supervision = Supervision(recovery, presence, _shared, pool, drain)
    supervision.start()
    _supervision.append(supervision)
    # Every stop signal drains the worker: Celery's cold shutdown would cost the running job an attempt.
    for number in (signal.SIGINT, signal.SIGQUIT, OWN_STOP_SIGNAL):
        signal.signal(number, signal.getsignal(signal.SIGTERM))
    log.info("worker for %r on %s, loading the model", graph, presence.device)
    if settings.worker.stand_ins:
        log.warning("IMAGEGEN_WORKER__DEVICE_MAP is set (%s): for tests and demos only", settings.worker.device_map)


@signals.task_failure.connect
def _child_lost(**_: Any) -> None:
    """Celery sends this in the main process when the child died during the task."""
    for supervision in _supervision:
        supervision.child_lost()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    if not _supervision:  # no job can run before the connection, and Celery would wait until the model is loaded
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
        take_messages=lambda takes: consumer.hub.call_soon(_take_messages, consumer, takes),
    )


def _take_messages(consumer: Any, takes: bool) -> None:
    """Begin or stop, in Celery's event loop, to take messages from this worker's queues."""
    for queue in queues():
        (consumer.add_task_queue if takes else consumer.cancel_task_queue)(queue)


def _lose_connection() -> None:
    """Raise, in Celery's event loop, what makes it open a new connection and reset its count of open messages."""
    raise ConnectionResetError("the connection to the broker is dead")
