"""The models that are served now: those of the repository on disk, and the adapters added while the service runs."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from config.settings import Settings
from graphs.adapters.fit import fit_adapter
from graphs.adapters.lora_source import LoraSource
from graphs.adapters.sources import mode_for, parse_source_loras
from graphs.definition.graph import Graph, LoraAdapter, LoraMode
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
from graphs.families.model_facts import ModelFacts
from graphs.repository.bundled import bundled_model_path
from graphs.repository.repository import Repository
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter
from workers.sources.fetch import fetch

log = logging.getLogger(__name__)


class LiveModels:
    """The repository with the added adapters, kept in memory while their version in Redis stays the same."""

    def __init__(self, settings: Settings, on_disk: Repository, facts: dict[str, ModelFacts]) -> None:
        """``on_disk``: the repository without added adapters; ``facts``: by the name of its graph."""
        self._settings = settings
        self._on_disk = on_disk
        self._facts = facts
        self._registry = AdapterRegistry(settings.redis)
        self._version = b""
        self._repository = on_disk
        self._adding = asyncio.Lock()
        self._fetching = ThreadPoolExecutor(1, thread_name_prefix="fetch")

    async def repository(self) -> Repository:
        """Return what is served now, or what was served last while Redis is away."""
        try:
            version = await self._registry.version()
        except ServiceUnavailable:
            return self._repository
        if version != self._version:
            added = {name: await self._registry.added_to(name) for name in self._on_disk.graphs}
            self._repository = _with_added(self._on_disk, added)
            self._version = version
        return self._repository

    async def add(self, graph_name: str | None, alias: str, source: str, alpha: float | None) -> None:
        """Fetch an adapter, check that it fits its graph, and serve it from now on.

        ``graph_name`` may be None where only one graph is served; ``source`` is as in ``--source_loras``; ``alpha``
        None: that of the source, or 1. Raises InvalidRequest naming the parameter.
        """
        parsed = _parse(alias, source, alpha)
        async with self._adding:  # of two requests with one alias, the second is refused
            repository = await self.repository()
            graph = self._graph(repository, graph_name)
            _check_free(repository, graph, alias)
            loop = asyncio.get_running_loop()
            adapter = await loop.run_in_executor(self._fetching, self._fetched, graph, parsed)
            await self._registry.add(graph.name, adapter)

    async def remove(self, alias: str) -> None:
        """Stop serving an added adapter. Raises ModelNotFound, or InvalidRequest for an adapter of a graph.pbtxt."""
        for name in self._on_disk.graphs:
            if await self._registry.remove(name, alias):
                return
        if any(alias == adapter.alias for graph in self._on_disk.graphs.values() for adapter in graph.lora_adapters):
            raise InvalidRequest(f"{alias!r} stands in graph.pbtxt; take it out there and start again.", param="alias")
        raise ModelNotFound(f"No adapter {alias[:100]!r} was added.", param="alias")

    async def close(self) -> None:
        """Close connections and stop threads."""
        await self._registry.close()
        self._fetching.shutdown(wait=False)

    def _graph(self, repository: Repository, name: str | None) -> Graph:
        graph = repository.graphs.get(name) if name else repository.base_graph
        if graph is None:
            raise InvalidRequest(f"model must name a graph: one of {', '.join(repository.graphs)}.", param="model")
        if not _allows_adding(graph):
            raise InvalidRequest(f"The adapters of {graph.name!r} are compiled in; none can be added.", param="model")
        return graph

    def _fetched(self, graph: Graph, parsed: LoraSource) -> AddedAdapter:
        try:
            path = fetch(parsed, self._folder(graph), self._settings.downloads, lambda _done, _total: None)
        except ConfigurationError as error:
            raise InvalidRequest(error.message, param="source", code="invalid_adapter") from error
        try:
            _check_fit(path, graph, self._facts[graph.name].family)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (AdapterMisfit, OSError) as error:
            raise InvalidRequest(f"{path} does not fit: {error}.", param="source", code="invalid_adapter") from error
        alpha = 1.0 if parsed.alpha is None else parsed.alpha
        return AddedAdapter(parsed.alias, _absolute_source(parsed), alpha, str(path), digest)

    def _folder(self, graph: Graph) -> Path:
        """Return the folder of downloads. The folder of the bundled model is part of the installation, so not that."""
        if graph.models_path.is_relative_to(bundled_model_path()):
            return self._settings.data_dir / "graphs" / graph.name
        return graph.models_path


def _with_added(on_disk: Repository, added: Mapping[str, list[AddedAdapter]]) -> Repository:
    """Return the repository with the added adapters. One that a changed graph.pbtxt does not allow is left out."""
    repository = on_disk
    for name, adapters in added.items():
        for adapter in adapters:
            if not _allows_adding(on_disk.graphs[name]):
                log.warning("the added adapter %r is left out: those of %r are compiled in", adapter.alias, name)
                continue
            try:
                repository = repository.with_adapters({name: [adapter.as_lora_adapter()]})
            except RepositoryError as error:
                log.warning("the added adapter %r is left out: %s", adapter.alias, error.message)
    return repository


def _check_free(repository: Repository, graph: Graph, alias: str) -> None:
    if alias == graph.name:
        raise InvalidRequest(f"The name {alias!r} is already taken by the model itself.", param="alias")
    taken = LoraAdapter(alias=alias, path=Path("/"), mode=LoraMode.DYNAMIC)
    try:
        repository.with_adapters({graph.name: [taken]})
    except RepositoryError as error:
        raise InvalidRequest(error.message, param="alias") from error


def _allows_adding(graph: Graph) -> bool:
    static = any(adapter.mode is LoraMode.STATIC for adapter in graph.lora_adapters)
    return not static and mode_for(graph.device) is LoraMode.DYNAMIC


def _check_fit(path: Path, graph: Graph, family: Family) -> None:
    """Check that a worker can load the file. Raises AdapterMisfit."""
    at_construction = graph.is_compiled_at_construction(graph.device)
    fit_adapter(path, graph.models_path, family).check_loadable(at_construction=at_construction)


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
