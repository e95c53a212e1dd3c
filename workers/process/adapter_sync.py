"""Loads the adapters that administrators add into a worker's engine, and removes them again."""

import hashlib
import logging
from pathlib import Path

from config.settings import DownloadSettings
from graphs.adapters.sources import parse_source_loras
from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError, EngineError
from graphs.requests.request import ResolvedRequest
from workers.engine.protocol import Engine
from workers.jobs.adapter_registry import AddedAdapter, AddedAdapterReader
from workers.sources.fetch import fetch

log = logging.getLogger(__name__)


class AdapterSync:
    """Brings one engine in line with the registry of added adapters, before each request that needs it."""

    def __init__(self, engine: Engine, graph: Graph, added: AddedAdapterReader, downloads: DownloadSettings) -> None:
        self._engine = engine
        self._graph = graph
        self._added = added
        self._downloads = downloads
        self._own = {adapter.alias for adapter in graph.lora_adapters}
        self._loaded: dict[str, AddedAdapter] = {}

    def prepare(self, request: ResolvedRequest) -> None:
        """Load the request's adapters into the engine. Raises EngineError for one that was removed or cannot be loaded.

        Adapters that were removed or replaced since the last request are removed from the engine.
        """
        wanted = [selection.alias for selection in request.adapters if selection.alias not in self._own]
        if not wanted and not self._loaded:
            return
        served = self._added.read()
        for alias, loaded in list(self._loaded.items()):
            if served.get(alias) != loaded:
                self._engine.remove_adapter(alias)
                del self._loaded[alias]
        for alias in wanted:
            if alias not in self._loaded:
                self._load(alias, served.get(alias))

    def _load(self, alias: str, adapter: AddedAdapter | None) -> None:
        if adapter is None:
            raise EngineError(f"The adapter {alias!r} was removed.", code="adapter_removed")
        self._engine.add_adapter(alias, self._file(adapter))
        self._loaded[alias] = adapter

    def _file(self, adapter: AddedAdapter) -> Path:
        """Return the path of the file that the API registered; on a machine without it, download it.

        Raises EngineError where the file cannot be downloaded or read, or has another content than the API registered.
        """
        path = Path(adapter.path)
        if not path.is_file():
            (source,) = parse_source_loras(f"{adapter.alias}={adapter.source}").adapters
            if source.kind == "local":
                log.error("adapter %r: there is no file %s", adapter.alias, path)
                raise EngineError(f"The file of adapter {adapter.alias!r} is not on the machine of this worker.")
            try:
                path = fetch(source, self._graph.models_path, self._downloads, lambda _done, _total: None)
            except ConfigurationError as error:
                raise EngineError(error.message) from error
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EngineError(f"The file of adapter {adapter.alias!r} cannot be read.") from error
        if digest != adapter.sha256:
            raise EngineError(f"The file of adapter {adapter.alias!r} has changed since it was added.")
        return path
