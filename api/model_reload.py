"""Reads the models again while the API runs, and serves what has changed once a worker has loaded it."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.live_models import LiveModels
from api.live_workers import LiveWorkers
from config.settings import Settings
from graphs.errors import ConfigurationError, RepositoryError, ServiceUnavailable
from graphs.reload.served_models import ServedModels, Source
from graphs.reload.watched_files import WatchedFiles
from workers.jobs.models.listing import ModelListing
from workers.jobs.observe.presence import WorkerPresence, load_failures

log = logging.getLogger(__name__)

_CYCLE_S = 1.0
# How soon a change is served that a reload waits for.
_WAITING_CYCLE_S = 0.1
# Loading a large model takes minutes; then a reload is answered while it still loads.
_LONGEST_RELOAD_S = 300.0


@dataclass(frozen=True)
class ModelState:
    """Whether a model can draw now, and why its files cannot be used or no worker can load it (it names files)."""

    is_available: bool
    failure: str | None


class ModelReload:
    """What is on disk, as it was read last, and how much of it is served.

    A model that is new or has changed is served once a worker is ready with it, one that was removed at once no more.
    Files that cannot be read change nothing.
    """

    def __init__(self, settings: Settings, source: Source, models: LiveModels, workers: LiveWorkers) -> None:
        self._source = source
        self._models = models
        self._workers = workers
        self._listing = ModelListing(settings.redis, settings.jobs)
        self._poll_s = settings.file_system_poll_wait_s
        self._removed_grace_s = settings.jobs.removed_grace_s
        self._watched = WatchedFiles(self._places)
        self._wanted = models.on_disk
        self._removed: set[str] = set()
        self._reloads: int | None = None
        self._looked_at = 0.0
        self._followed: frozenset[tuple[str, str]] = frozenset()
        self._reading = asyncio.Lock()
        self._reads = 0
        self._task: asyncio.Task[None] | None = None
        # Why nothing of what is on disk can be used now; None where it can.
        self.error: str | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="model reload")

    async def stop(self) -> None:
        """Stop looking and close connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._listing.close()

    @property
    def unread(self) -> Mapping[str, str]:
        """Why the files of models cannot be used now, by name: for administrators, since it names files."""
        return self._wanted.unread

    @property
    def pending(self) -> list[str]:
        """The models that have changed or are new, and that no worker has loaded so yet."""
        served = self._models.on_disk
        return [name for name in self._wanted.repository.graphs if not self._wanted.has_same(served, name)]

    async def states(self) -> dict[str, ModelState]:
        """Return the state of every model, of those that wait for a worker too, by name. Raises ServiceUnavailable."""
        served = self._models.on_disk
        workers = await self._workers.now()
        failures = {**load_failures(workers), **served.repository.failed, **self._why_unused(workers)}
        named = {*served.repository.graphs, *served.repository.failed, *self._wanted.repository.graphs, *self.unread}
        ready = {worker.graph for worker in workers if worker.ready and worker.has_model(served.digest(worker.graph))}
        return {
            name: ModelState(name in ready and name in served.repository.graphs, failures.get(name))
            for name in sorted(named)
        }

    async def why_unused(self) -> dict[str, str]:
        """Return why models on disk are not used as they are there now, by name (it names files).

        Their files cannot be read, or no worker can load them.
        """
        return self._why_unused(await self._workers.recent())

    def left_out(self, workers: Sequence[WorkerPresence]) -> dict[str, str]:
        """Return why models that are new on disk are not served at all, by name (it names files)."""
        served = self._models.on_disk.repository
        known = served.graphs.keys() | served.failed.keys()
        return {name: why for name, why in self._why_unused(workers).items() if name not in known}

    async def reload(self) -> bool:
        """Make all processes read their models again, and wait until what has changed is served.

        Returns whether anything has changed here. Raises ConfigurationError where nothing can be used of what is on
        disk, and ServiceUnavailable.
        """
        before = self._models.on_disk
        self._reloads = await self._listing.ask_for_reload()
        await self._read()
        if self.error is not None:
            raise ConfigurationError(self.error)
        give_up_at = time.monotonic() + _LONGEST_RELOAD_S
        changes = bool(self.pending)
        await self._workers.now()
        await self._follow_workers()
        while await self._awaited() and time.monotonic() < give_up_at:
            await asyncio.sleep(_WAITING_CYCLE_S)
            await self._workers.now()
            await self._follow_workers()
        return changes or self._models.on_disk != before

    async def _run(self) -> None:
        while True:
            try:
                await self._cycle()
            except ServiceUnavailable as error:
                log.debug("the models are looked at later: %s", error)
            except Exception:  # a bug: the other models must be served all the same
                log.exception("a look at the models failed")
            await asyncio.sleep(_CYCLE_S)

    async def _cycle(self) -> None:
        if self._poll_s and time.monotonic() - self._looked_at >= self._poll_s - _CYCLE_S / 2:
            self._looked_at = time.monotonic()
            if changed := await asyncio.to_thread(self._watched.look):
                log.debug("changed: %s", ", ".join(changed))
                await self._read()
        served = self._models.on_disk
        answer = await self._listing.say(
            {name: served.digest(name) for name in served.repository.graphs}, self._removed
        )
        if self._reloads not in (None, answer.reloads):
            await self._read()
        self._reloads = answer.reloads
        await self._follow_workers()
        for graph, seconds in answer.removed_for_s.items():
            if seconds >= self._removed_grace_s and (count := await self._listing.end_removed(graph)):
                log.warning("%d jobs of %r failed: it is no longer served", count, graph)

    def _places(self) -> list[Path]:
        return self._source.places([*self._wanted.repository.graphs.values()])

    async def _read(self) -> None:
        """Read what is on disk. Nothing changes where it cannot be read at all.

        Of several calls at once, one reads for all that have come meanwhile.
        """
        begun = self._reads
        async with self._reading:
            if self._reads > begun:
                return
            self._reads += 1
            before = self._wanted
            former_error = self.error
            try:
                self._wanted = await asyncio.to_thread(lambda: self._source.read().after(before))
                self.error = None
            except ConfigurationError as error:
                self.error = error.message
        if self.error is not None and self.error != former_error:
            log.error("nothing changes, since what is on disk cannot be served: %s", self.error)
        for name, sentence in self._wanted.unread.items():
            if before.unread.get(name) != sentence:
                is_kept = name in self._wanted.repository.graphs
                what = "stays as it was" if is_kept else "is left out"
                log.error("the model %r %s, since its files cannot be used: %s", name, what, sentence)

    async def _follow_workers(self) -> None:
        """Serve what is on disk as far as workers have loaded it."""
        workers = await self._workers.recent()
        others = _models_of_others(self._models.on_disk, workers)
        if others != self._followed:
            self._followed = others
            await self._read()  # workers were started with other files, which were not looked at
        served = self._models.on_disk  # not before: another call may have served more meanwhile
        found = listed_now(served, self._wanted, workers)
        if found == served:
            return
        self._say_what_changes(served, found)
        gone = served.repository.graphs.keys() - found.repository.graphs.keys()
        self._removed = (self._removed | gone) - found.repository.graphs.keys()
        await self._models.adopt(found)

    async def _awaited(self) -> list[str]:
        """Return the pending models without those that a worker said it cannot load."""
        unused = await self.why_unused()
        return [name for name in self.pending if name not in unused]

    def _why_unused(self, workers: Sequence[WorkerPresence]) -> dict[str, str]:
        pending = self.pending
        tried = [w for w in workers if w.graph in pending and w.has_model(self._wanted.digest(w.graph))]
        return {**load_failures(tried), **self.unread}

    @staticmethod
    def _say_what_changes(before: ServedModels, after: ServedModels) -> None:
        old = before.repository.graphs
        new = after.repository.graphs
        changed = [name for name in new.keys() & old.keys() if not after.has_same(before, name)]
        for what, names in (
            ("new", new.keys() - old.keys()),
            ("changed", changed),
            ("removed", old.keys() - new.keys()),
        ):
            if names:
                log.info("%s: %s", what, ", ".join(sorted(names)))


def listed_now(served: ServedModels, wanted: ServedModels, workers: Sequence[WorkerPresence]) -> ServedModels:
    """Return what can be served of ``wanted``, after ``served``: a model that no worker has loaded so stays as it was.

    A new one is left out until then.
    """
    later = [name for name in wanted.repository.graphs if not _can_be_listed(name, served, wanted, workers)]
    try:
        return wanted.with_models_of(served, later)
    except RepositoryError:  # a name is that of a model before the change, and of another one's adapter after it
        return served


def _can_be_listed(name: str, served: ServedModels, wanted: ServedModels, workers: Sequence[WorkerPresence]) -> bool:
    former = served.digest(name)
    new = wanted.digest(name)
    is_known = name in served.repository.graphs
    if is_known and former == new:
        return True
    of_graph = [worker for worker in workers if worker.graph == name and not worker.error]
    if any(worker.ready and worker.has_model(new) for worker in of_graph):
        return True
    # Without a worker of the former model there is none to wait for.
    return is_known and not any(worker.has_model(former) for worker in of_graph)


def _models_of_others(served: ServedModels, workers: Sequence[WorkerPresence]) -> frozenset[tuple[str, str]]:
    """Return the graphs that are served here and whose live workers all have other models, with these digests."""
    alive = {(worker.graph, worker.digest) for worker in workers if not worker.error}
    own = {graph for graph, digest in alive if digest in ("", served.digest(graph))}
    return frozenset((graph, digest) for graph, digest in alive if served.digest(graph) and graph not in own)
