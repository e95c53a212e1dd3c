"""The workers that are alive, read from Redis at most once a second."""

import asyncio
import time
from collections.abc import Callable, Sequence

from graphs.errors import OperationNotAvailable
from graphs.families.family import Operation
from graphs.repository.repository import model_failed
from workers.jobs.observe.presence import WorkerPresence, load_failures
from workers.jobs.store import JobStore

_TTL_S = 1.0


class LiveWorkers:
    """The live workers as this process last read them. Every method raises ServiceUnavailable without Redis."""

    def __init__(self, store: JobStore, digest: Callable[[str], str]) -> None:
        """``digest(graph)``: that of the model for which requests are resolved here; '' where it is not known."""
        self._store = store
        self._digest = digest
        self._read_at = float("-inf")
        self._workers: list[WorkerPresence] = []
        self._reading = asyncio.Lock()

    async def ready(self, graph: str) -> list[WorkerPresence]:
        """Return the workers that have loaded this graph's model as it is here, as of at most a second ago."""
        return [worker for worker in self.own(await self.recent()) if worker.graph == graph and worker.ready]

    async def other_digests(self) -> dict[str, list[str]]:
        """Return the digests of other models that live workers have under the names of these graphs, by graph.

        Where the digest is not known here, they are those of all workers, if there are several.
        """
        found: dict[str, set[str]] = {}
        for worker in await self.recent():
            if worker.digest and not worker.error:
                found.setdefault(worker.graph, set()).add(worker.digest)
        others = {graph: digests - {self._digest(graph)} for graph, digests in found.items()}
        return {
            graph: sorted(digests)
            for graph, digests in others.items()
            if len(digests) > (0 if self._digest(graph) else 1)
        }

    def own(self, workers: Sequence[WorkerPresence]) -> list[WorkerPresence]:
        """Return those of the workers that draw the jobs of this process: a graph's have its model as it is here."""
        return [worker for worker in workers if worker.has_model(self._digest(worker.graph))]

    async def recent(self) -> list[WorkerPresence]:
        """Return all live workers, as of at most a second ago."""
        if time.monotonic() - self._read_at > _TTL_S:
            async with self._reading:  # requests that arrive meanwhile share this reading
                if time.monotonic() - self._read_at > _TTL_S:
                    await self.now()
        return self._workers

    async def now(self) -> list[WorkerPresence]:
        """Return all live workers, read now."""
        self._workers = await self._store.workers()
        self._read_at = time.monotonic()
        return self._workers

    async def check_available(self, graph: str, operation: Operation) -> None:
        """Raise OperationNotAvailable where no ready worker supports the operation. Without one, the job waits.

        Raises ServiceUnavailable where no worker can load the model.
        """
        if graph in load_failures(self.own(await self.recent())):
            raise model_failed(graph)
        ready = await self.ready(graph)
        if ready and not any(worker.can(operation) for worker in ready):
            raise OperationNotAvailable(
                f"{operation.value.capitalize()} is not available for this model ({graph}).", param="model"
            )

    async def loading(self) -> tuple[set[str], dict[str, str]]:
        """Return the graphs that a worker has loaded, as of now, and why no worker can load others, by graph."""
        workers = self.own(await self.now())
        return {worker.graph for worker in workers if worker.ready}, load_failures(workers)
