"""What is served at this moment: the repository on disk, and the adapters added while it runs."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from config.settings import Settings
from graphs.adapter_fit import AdapterMisfit, fit_adapter
from graphs.errors import ConfigurationError, InvalidRequest, ModelNotFound, RepositoryError, ServiceUnavailable
from graphs.graph import Graph, LoraAdapter, LoraMode
from graphs.lora_sources import LoraSource, parse_source_loras
from graphs.model_facts import ModelFacts
from graphs.repository import Repository
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter
from workers.sources.fetch import fetch


class Served:
    """The repository with what was added to it; one look at Redis tells whether that is still so."""

    def __init__(self, settings: Settings, on_disk: Repository, facts: dict[str, ModelFacts]) -> None:
        self._settings, self._on_disk, self._facts = settings, on_disk, facts
        self._registry = AdapterRegistry(settings.redis)
        self._version, self._repository = b"", on_disk
        self._fetching = ThreadPoolExecutor(1, thread_name_prefix="fetch")

    async def repository(self) -> Repository:
        """Return what is served now; while Redis is away, what was served last."""
        try:
            version = await self._registry.version()
        except ServiceUnavailable:
            return self._repository
        if version != self._version:
            added = {name: await self._registry.added_to(name) for name in self._on_disk.graphs}
            adapters = {name: [a.as_lora_adapter() for a in some] for name, some in added.items() if some}
            self._repository, self._version = self._on_disk.with_adapters(adapters), version
        return self._repository

    async def add(self, graph_name: str | None, alias: str, source: str, alpha: float | None) -> str:
        """Fetch an adapter, see that it fits, and serve it from now on. Returns its graph's name.

        Raises InvalidRequest naming the parameter.
        """
        graph = self._graph(await self.repository(), graph_name)
        parsed = _parsed(alias, source, alpha)
        taken = LoraAdapter(alias=alias, path=Path(source), alpha=1.0, mode=LoraMode.DYNAMIC)
        try:
            (await self.repository()).with_adapters({graph.name: [taken]})
        except RepositoryError as error:
            raise InvalidRequest(error.message, param="alias") from error
        loop = asyncio.get_running_loop()
        adapter = await loop.run_in_executor(self._fetching, self._fetched, graph, parsed, source)
        await self._registry.add(graph.name, adapter)
        return graph.name

    async def remove(self, alias: str) -> None:
        """Serve an added adapter no longer. Raises ModelNotFound, or InvalidRequest for one of a graph.pbtxt."""
        for name in self._on_disk.graphs:
            if await self._registry.remove(name, alias):
                return
        if any(alias == adapter.alias for graph in self._on_disk.graphs.values() for adapter in graph.lora_adapters):
            raise InvalidRequest(f"{alias!r} stands in graph.pbtxt; take it out there and start again.", param="alias")
        raise ModelNotFound(f"No adapter {alias[:100]!r} was added.", param="alias")

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self._registry.close()
        self._fetching.shutdown(wait=False)

    def _graph(self, repository: Repository, name: str | None) -> Graph:
        graph = repository.graphs.get(name) if name else repository.base_graph
        if graph is None:
            raise InvalidRequest(f"model must name a graph: one of {', '.join(repository.graphs)}.", param="model")
        if any(adapter.mode is LoraMode.STATIC for adapter in graph.lora_adapters) or "NPU" in " ".join(graph.device):
            raise InvalidRequest(f"The adapters of {graph.name!r} are compiled in; none can be added.", param="model")
        return graph

    def _fetched(self, graph: Graph, parsed: LoraSource, source: str) -> AddedAdapter:
        try:
            path = fetch(parsed, graph.models_path, self._settings.downloads, lambda _done, _total: None)
            fit_adapter(path, graph.models_path, self._facts[graph.name].family)
        except (ConfigurationError, AdapterMisfit) as error:
            reason = error.message if isinstance(error, ConfigurationError) else f"{path} does not fit: {error}"
            raise InvalidRequest(reason, param="source", code="invalid_adapter") from error
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        alpha = 1.0 if parsed.alpha is None else parsed.alpha
        return AddedAdapter(parsed.alias, source, alpha, str(path), digest)


def _parsed(alias: str, source: str, alpha: float | None) -> LoraSource:
    try:
        parsed = parse_source_loras(f"{alias}={source}")
    except ConfigurationError as error:
        raise InvalidRequest(error.message, param="source") from error
    if len(parsed.adapters) != 1 or parsed.composites:
        raise InvalidRequest("source must name one adapter.", param="source")
    (found,) = parsed.adapters
    if alpha is not None and found.alpha is not None:
        raise InvalidRequest("Give alpha either in source or by itself.", param="alpha")
    if alpha is None:
        return found
    return LoraSource(found.alias, found.kind, found.location, found.file, alpha)
