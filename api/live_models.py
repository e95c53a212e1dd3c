"""The models that are served now: those of the repository on disk, and the adapters added while the service runs."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from api.adapter_coverages import read_coverages
from api.adapter_folder import AdapterFolder, FolderChanges
from api.added_adapters import check_free, checked_digest, with_added
from config.settings import Settings
from graphs.adapters.lora_source import LoraSource
from graphs.adapters.sources import parse_source_loras
from graphs.adapters.updates import AdapterCoverage
from graphs.definition.graph import Graph
from graphs.errors import (
    AdapterMisfit,
    ConfigurationError,
    GraphError,
    InvalidRequest,
    ModelNotFound,
    RepositoryError,
    ServiceUnavailable,
)
from graphs.families.family import Family
from graphs.reload.served_models import ServedModels
from graphs.repository.adapter_folder import graph_of_folder, takes_adapters
from graphs.repository.bundled import bundled_model_path
from graphs.repository.repository import Repository
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter
from workers.sources.content import delete_name
from workers.sources.fetch import fetch

log = logging.getLogger(__name__)


class LiveModels:
    """The repository with the added adapters, kept in memory while their version in Redis stays the same."""

    def __init__(self, settings: Settings, on_disk: ServedModels) -> None:
        """``on_disk``: the models without added adapters."""
        self._settings = settings
        # What is served now, without added adapters.
        self.on_disk = on_disk
        self._registry = AdapterRegistry(settings.redis)
        self._version = b""
        self._live = on_disk
        self._adding = asyncio.Lock()
        self._fetching = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._folder = self._folder_of_settings()
        self._looked_at_folder = False
        self._coverages: dict[str, AdapterCoverage] = {}

    async def start(self) -> None:
        """Serve what the folder of adapters contains; while Redis is away, this is put off."""
        await self._read_coverages()
        await self.repository()

    async def served(self) -> ServedModels:
        """Return what is served now, or what was served last while Redis is away; the repository has added adapters."""
        if not self._looked_at_folder and not self._adding.locked():
            async with self._adding:
                if not await self._look_at_folder_once():
                    return self._live
        return await self._registered()

    @property
    def latest(self) -> ServedModels:
        """What was served when somebody asked last."""
        return self._live

    @property
    def adapters_version(self) -> str:
        """The version of the added adapters of ``latest``; '' where they are to be read first."""
        return self._version.decode()

    async def repository(self) -> Repository:
        """Return the repository of what is served now."""
        return (await self.served()).repository

    async def adopt(self, on_disk: ServedModels) -> None:
        """Serve these models from now on, with the adapters that were added to them."""
        self.on_disk = on_disk
        self._live = on_disk
        self._version = b""
        try:
            self._folder = self._folder_of_settings()
            self._looked_at_folder = False
        except RepositoryError as error:
            log.error("%s The adapters that came from it before are served.", error.message)
        await self.served()

    async def _registered(self) -> ServedModels:
        try:
            version = await self._registry.version()
            while version != self._version:
                on_disk = self.on_disk
                added = {name: await self._registry.added_to(name) for name in on_disk.repository.graphs}
                if on_disk is self.on_disk:  # others may have been adopted meanwhile
                    self._live = replace(on_disk, repository=with_added(on_disk.repository, added))
                    self._version = version
                    await self._read_coverages()
        except ServiceUnavailable as error:
            log.debug("what was served last is still served: %s", error)
        return self._live

    def coverage(self, alias: str) -> AdapterCoverage | None:
        """Return how much of an adapter's file its model takes; None where that is not known."""
        return self._coverages.get(alias)

    async def _read_coverages(self) -> None:
        self._coverages = await asyncio.to_thread(read_coverages, self._live.repository, self.on_disk.facts)

    async def add(self, graph_name: str | None, alias: str, source: str, alpha: float | None) -> None:
        """Fetch an adapter, check that it fits its graph, and serve it from now on.

        ``graph_name`` may be None where only one graph is served; ``source`` is as in ``--source_loras``; ``alpha``
        None: that of the source, or 1. Raises InvalidRequest naming the parameter.
        """
        parsed = _parse(alias, source, alpha)
        async with self._adding:  # of two requests with one alias, the second is refused
            served = await self._registered()
            graph = self._graph(served.repository, graph_name)
            check_free(served.repository, graph, alias)
            family = served.facts[graph.name].family
            loop = asyncio.get_running_loop()
            adapter = await loop.run_in_executor(self._fetching, self._fetched, graph, family, parsed)
            await self._registry.add(graph.name, adapter)

    async def remove(self, alias: str) -> None:
        """Stop serving an added adapter.

        Raises ModelNotFound, or InvalidRequest for an adapter of a graph.pbtxt or of the folder.
        """
        for name in self.on_disk.repository.graphs:
            if alias in await self._registry.folder_of(name):
                reason = "comes from the folder of adapters; take its file out of there and refresh"
                raise InvalidRequest(f"{alias!r} {reason}.", param="alias")
            removed = next((one for one in await self._registry.added_to(name) if one.alias == alias), None)
            if await self._registry.remove(name, alias):
                if removed is not None:
                    await self._delete_download(removed)
                return
        graphs = self.on_disk.repository.graphs
        if any(alias == adapter.alias for graph in graphs.values() for adapter in graph.lora_adapters):
            raise InvalidRequest(f"{alias!r} stands in graph.pbtxt; take it out there and start again.", param="alias")
        raise ModelNotFound(f"No adapter {alias[:100]!r} was added.", param="alias")

    async def _delete_download(self, removed: AddedAdapter) -> None:
        """Delete the file of a removed adapter if it was downloaded; other aliases of the same content keep it."""
        path = Path(removed.path)
        folder = _folder_of_downloads(removed)
        if folder is None or await self._is_used(path):
            return
        for graph in self.on_disk.repository.graphs.values():
            loras = self._download_folder(graph).absolute() / "loras"
            if path.is_relative_to(loras / folder):
                await asyncio.to_thread(delete_name, path, loras)

    async def _is_used(self, path: Path) -> bool:
        """Return whether an adapter of any graph still has this file: those of one repository share its folder."""
        graphs = self.on_disk.repository.graphs
        added = [adapter for name in graphs for adapter in await self._registry.added_to(name)]
        own = [adapter for graph in graphs.values() for adapter in graph.lora_adapters]
        return path in {Path(one.path) for one in added} | {one.path for one in own}

    async def refresh(self) -> FolderChanges:
        """Look at the folder of adapters again, and serve what it contains now.

        Raises InvalidRequest if there is no folder or it cannot be read; nothing has changed then.
        """
        if self._folder is None:
            raise InvalidRequest("There is no folder of adapters; start the server with --lora_folder FOLDER.")
        async with self._adding:
            try:
                return await self._folder.look()
            except RepositoryError as error:
                raise InvalidRequest(error.message) from error

    async def close(self) -> None:
        """Close connections and stop threads."""
        await self._registry.close()
        self._fetching.shutdown(wait=False)

    def _folder_of_settings(self) -> AdapterFolder | None:
        folder = self._settings.lora_folder
        if folder is None:
            return None
        graph = graph_of_folder(folder, self.on_disk.repository)
        return AdapterFolder(folder, graph, self.on_disk.facts[graph.name].family, self._registry, self._fetching)

    async def _look_at_folder_once(self) -> bool:
        """Bring the registry in line with the folder, or with there being none since this start.

        Returns False where Redis is away: the next call tries again.
        """
        try:
            if self._folder is not None:
                await self._folder.look()
            else:
                for name in self.on_disk.repository.graphs:
                    await self._registry.update_folder(name, {}, (await self._registry.folder_of(name)).keys())
        except ServiceUnavailable:
            return False
        except RepositoryError as error:
            log.error("%s The adapters that came from it before are served.", error.message)
        self._looked_at_folder = True
        return True

    def _graph(self, repository: Repository, name: str | None) -> Graph:
        graph = repository.graphs.get(name) if name else repository.base_graph
        if graph is None:
            raise InvalidRequest(f"model must name a graph: one of {', '.join(repository.graphs)}.", param="model")
        if not takes_adapters(graph):
            raise InvalidRequest(f"The adapters of {graph.name!r} are compiled in; none can be added.", param="model")
        return graph

    def _fetched(self, graph: Graph, family: Family, parsed: LoraSource) -> AddedAdapter:
        try:
            path = fetch(parsed, self._download_folder(graph), self._settings.downloads, lambda _done, _total: None)
        except ConfigurationError as error:
            raise InvalidRequest(error.message, param="source", code="invalid_adapter") from error
        try:
            digest = checked_digest(path, graph, family)
        except (AdapterMisfit, OSError) as error:
            raise InvalidRequest(f"{path} does not fit: {error}.", param="source", code="invalid_adapter") from error
        alpha = 1.0 if parsed.alpha is None else parsed.alpha
        return AddedAdapter(parsed.alias, _absolute_source(parsed), alpha, str(path), digest)

    def _download_folder(self, graph: Graph) -> Path:
        """Return the folder of downloads. The folder of the bundled model is part of the installation, so not that."""
        if graph.models_path.is_relative_to(bundled_model_path()):
            return self._settings.data_dir / "graphs" / graph.name
        return graph.models_path


def _folder_of_downloads(adapter: AddedAdapter) -> str | None:
    """Return the folder below ``loras`` that a download of this adapter is in (workers/sources/fetch.py)."""
    parsed = _parse(adapter.alias, adapter.source, None)
    return {"url": adapter.alias, "hugging_face": parsed.location}.get(parsed.kind)


def _absolute_source(parsed: LoraSource) -> str:
    """Return the source in a form that does not depend on the working folder."""
    if parsed.kind == "local":
        parsed = replace(parsed, location=str(Path(parsed.location).absolute()))
    return parsed.source


def _parse(alias: str, source: str, alpha: float | None) -> LoraSource:
    if _parse_one(f"{alias}=org/repo", "alias").alias != alias:
        raise InvalidRequest(f"{alias!r} cannot be an alias.", param="alias")
    if source.lstrip().startswith("@"):
        raise InvalidRequest("source must name one adapter; composites stand in graph.pbtxt.", param="source")
    found = _parse_one(f"{alias}={source}", "source")
    if alpha is None:
        return found
    if found.alpha is not None:
        raise InvalidRequest("Give alpha either in source or by itself.", param="alpha")
    return replace(found, alpha=alpha)


def _parse_one(text: str, param: str) -> LoraSource:
    try:
        parsed = parse_source_loras(text)
    except GraphError as error:
        raise InvalidRequest(error.reason.removeprefix("entry 1, "), param=param) from error
    if len(parsed.adapters) != 1 or parsed.composites:
        raise InvalidRequest(f"{param} must name one adapter.", param=param)
    return parsed.adapters[0]
