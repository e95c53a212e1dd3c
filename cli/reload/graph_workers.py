"""The workers of ``imagegen serve``: one for each graph, and a second one beside it while the graph changes."""

import logging
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graphs.definition.graph import Graph
from graphs.reload.served_models import ServedModels
from workers.jobs.models.fleet_view import Fleet, Model
from workers.jobs.observe.presence import WorkerPresence

log = logging.getLogger(__name__)

# Longer than an API process takes to say what it lists (api/model_reload.py), several times over.
_UNLISTED_S = 5.0
_BUSY = ("drawing", "checking", "storing")


@dataclass
class _Worker:
    """A worker: the name of its process, and the model with which it was started."""

    process: str
    graph: Graph
    digest: str
    # Since when another model is wanted, by the monotonic clock; None while this one is.
    since_s: float | None = None

    @property
    def model(self) -> Model:
        return self.graph.name, self.digest


@dataclass(frozen=True)
class Processes:
    """How processes are started, ended and found, by their names."""

    start: Callable[[str, str], None]
    """``start(process, graph)``: starts a worker."""
    end: Callable[[str], None]
    pid: Callable[[str], int | None]


class GraphWorkers:
    """Starts a worker for each model that is wanted, and ends those of others once nothing is left for them to do.

    A former worker goes on until no API process lists its model and no job waits for it, so that none is lost.
    """

    def __init__(self, processes: Processes, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds."""
        self._processes = processes
        self._clock = clock
        self._workers: list[_Worker] = []
        self._started: dict[str, int] = {}

    @property
    def models(self) -> frozenset[Model]:
        """The models of all workers that have not been ended."""
        return frozenset(worker.model for worker in self._workers)

    @property
    def has_unneeded(self) -> bool:
        """Whether a worker may soon be ended, for which ``end_unneeded`` must know what it does."""
        return any(worker.since_s is not None for worker in self._workers)

    def start_missing(self, wanted: ServedModels) -> None:
        """Start a worker for each model that has none; one that has not ended yet is the newest of its graph again."""
        for name, graph in wanted.repository.graphs.items():
            having = [one for one in self._workers if one.graph == graph and one.digest == wanted.digest(name)]
            if not having:
                self._start(graph, wanted.digest(name))
            elif having[-1] is not self._newest(name):
                self._workers.remove(having[-1])
                self._workers.append(having[-1])

    def end_unneeded(self, wanted: ServedModels, fleet: Fleet) -> None:
        """End the workers of models that are not wanted, as far as nothing is left for them to do."""
        now = self._clock()
        for worker in list(self._workers):
            newest = self._newest(worker.graph.name)
            if worker is newest and worker.graph.name in wanted.repository.graphs:
                worker.since_s = None
                continue
            worker.since_s = now if worker.since_s is None else worker.since_s
            follower = None if worker is newest else newest
            if now - worker.since_s >= _UNLISTED_S and self._is_done(worker, follower, fleet):
                log.info("%s ends: nothing is left for its model", worker.process)
                self._processes.end(worker.process)
                self._workers.remove(worker)

    def _is_done(self, worker: _Worker, follower: _Worker | None, fleet: Fleet) -> bool:
        """``follower``: the worker that takes its place, if there is one."""
        if fleet.workers is None:
            return False
        presence = self._presence(worker, fleet.workers)
        if presence is not None and presence.digest not in ("", worker.digest):
            return True  # it died and was started again, with the files as they are now: it draws nothing of the former
        if presence is not None and presence.stage in _BUSY:
            return False
        if follower is not None and follower.digest == worker.digest:  # such as on another device
            of_follower = self._presence(follower, fleet.workers)
            return of_follower is not None and of_follower.ready
        listed_ago_s = fleet.listed_ago_s.get(worker.model)
        is_listed = listed_ago_s is not None and listed_ago_s < _UNLISTED_S
        return not is_listed and not fleet.waiting.get(worker.model, 0)

    def _start(self, graph: Graph, digest: str) -> None:
        number = self._started[graph.name] = self._started.get(graph.name, 0) + 1
        process = f"worker {graph.name}" if number == 1 else f"worker {graph.name} ({number})"
        if number > 1:
            log.info("%s starts: the model has changed", process)
        self._processes.start(process, graph.name)
        self._workers.append(_Worker(process, graph, digest))

    def _newest(self, graph: str) -> _Worker | None:
        return next((worker for worker in reversed(self._workers) if worker.graph.name == graph), None)

    def _presence(self, worker: _Worker, workers: Iterable[WorkerPresence]) -> WorkerPresence | None:
        pid = self._processes.pid(worker.process)
        host = socket.gethostname()
        return next((one for one in workers if pid is not None and one.is_process(host, pid)), None)
