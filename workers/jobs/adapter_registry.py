"""LoRA adapters that administrators add while the service runs, in Redis for all API processes and workers.

The adapters that a graph defines itself (graph.pbtxt) are not stored here.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from config.settings import RedisSettings
from graphs.definition.graph import LoraAdapter, LoraMode
from workers.jobs.redis.connection import connect, connect_async, redis_errors
from workers.jobs.redis.keys import Keys


@dataclass(frozen=True)
class AddedAdapter:
    """An added adapter: its source, its file's path in the process that added it, and the digest of its content."""

    alias: str
    source: str
    alpha: float
    path: str
    sha256: str

    def as_lora_adapter(self) -> LoraAdapter:
        """Return the adapter in the form of a graph's own adapters."""
        return LoraAdapter(alias=self.alias, path=Path(self.path), alpha=self.alpha, mode=LoraMode.DYNAMIC)


@dataclass(frozen=True)
class FolderFile:
    """What a file of the folder of adapters looked like when its content was read: another look means other content."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FolderFile":
        """Return how a file looks now. Raises OSError."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class AdapterRegistry:
    """Added adapters as the API reads and changes them.

    Every method raises ServiceUnavailable when Redis cannot be reached.
    """

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)

    async def version(self) -> bytes:
        """Return a number that changes with every change."""
        with redis_errors():
            return bytes(await self._redis.get(self._keys.adapters_version) or b"0")

    async def added_to(self, graph: str) -> list[AddedAdapter]:
        """Return the adapters added to a graph, sorted by alias."""
        with redis_errors():
            return _read(await self._redis.hgetall(self._keys.added_adapters(graph)))

    async def add(self, graph: str, adapter: AddedAdapter) -> None:
        """Store an adapter; it replaces one of the same alias."""
        with redis_errors():
            transaction = self._redis.pipeline(transaction=True)
            transaction.hset(self._keys.added_adapters(graph), adapter.alias, json.dumps(asdict(adapter)))
            transaction.incr(self._keys.adapters_version)
            await transaction.execute()

    async def remove(self, graph: str, alias: str) -> bool:
        """Remove an adapter; False when there was none."""
        with redis_errors():
            transaction = self._redis.pipeline(transaction=True)
            transaction.hdel(self._keys.added_adapters(graph), alias)
            transaction.incr(self._keys.adapters_version)
            removed, _ = await transaction.execute()
        return bool(removed)

    async def folder_of(self, graph: str) -> dict[str, FolderFile]:
        """Return which of a graph's added adapters come from its folder, by alias, with their files."""
        with redis_errors():
            stored = await self._redis.hgetall(self._keys.folder_adapters(graph))
        return {alias.decode(): FolderFile(**json.loads(value)) for alias, value in stored.items()}

    async def update_folder(
        self, graph: str, found: Mapping[str, tuple[AddedAdapter, FolderFile]], gone: Collection[str]
    ) -> None:
        """Store new and changed adapters of a graph's folder by alias, and remove others, in one transaction."""
        if not found and not gone:
            return
        adapters = self._keys.added_adapters(graph)
        files = self._keys.folder_adapters(graph)
        with redis_errors():
            transaction = self._redis.pipeline(transaction=True)
            for alias, (adapter, file) in found.items():
                transaction.hset(adapters, alias, json.dumps(asdict(adapter)))
                transaction.hset(files, alias, json.dumps(asdict(file)))
            if gone:
                transaction.hdel(adapters, *gone)
                transaction.hdel(files, *gone)
            transaction.incr(self._keys.adapters_version)
            await transaction.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class AddedAdapterReader:
    """Added adapters as the worker of one graph reads them."""

    def __init__(self, redis_settings: RedisSettings, graph: str) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect(redis_settings, retries=3)
        self._graph = graph

    def read(self) -> dict[str, AddedAdapter]:
        """Return the added adapters by alias. Raises ServiceUnavailable."""
        with redis_errors():
            return {
                adapter.alias: adapter for adapter in _read(self._redis.hgetall(self._keys.added_adapters(self._graph)))
            }


def _read(stored: Mapping[bytes, bytes]) -> list[AddedAdapter]:
    return sorted((AddedAdapter(**json.loads(value)) for value in stored.values()), key=lambda adapter: adapter.alias)
