"""Adapters that administrators added while the service runs: kept in Redis, seen by every API process and worker.

A graph's own adapters (graph.pbtxt) are not in here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from config.settings import RedisSettings
from graphs.definition.graph import LoraAdapter, LoraMode
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect, connect_async, redis_errors


@dataclass(frozen=True)
class AddedAdapter:
    """An adapter that was added: its source, its file as the adding process saw it, and the content's digest."""

    alias: str
    source: str
    alpha: float
    path: str
    sha256: str

    def as_lora_adapter(self) -> LoraAdapter:
        """Return it as an adapter of a graph."""
        return LoraAdapter(alias=self.alias, path=Path(self.path), alpha=self.alpha, mode=LoraMode.DYNAMIC)


class AdapterRegistry:
    """The API's side: reads and changes. Every method raises ServiceUnavailable when Redis cannot be reached."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._redis = connect_async(redis_settings)

    async def version(self) -> bytes:
        """Return a number that changes with every change."""
        with redis_errors():
            return bytes(await self._redis.get(keys.ADAPTERS_VERSION) or b"0")

    async def added_to(self, graph: str) -> list[AddedAdapter]:
        """Return what was added to a graph, by alias."""
        with redis_errors():
            return _read(await self._redis.hgetall(keys.added_adapters(graph)))

    async def add(self, graph: str, adapter: AddedAdapter) -> None:
        """Keep an adapter; one of the same alias is replaced."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as both:
                both.hset(keys.added_adapters(graph), adapter.alias, json.dumps(asdict(adapter)))
                both.incr(keys.ADAPTERS_VERSION)
                await both.execute()

    async def remove(self, graph: str, alias: str) -> bool:
        """Forget an adapter; False when there was none."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as both:
                both.hdel(keys.added_adapters(graph), alias)
                both.incr(keys.ADAPTERS_VERSION)
                removed, _ = await both.execute()
        return bool(removed)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class AddedAdapterReader:
    """A worker's side: what was added to its graph."""

    def __init__(self, redis_settings: RedisSettings, graph: str) -> None:
        self._redis, self._graph = connect(redis_settings, retries=3), graph

    def read(self) -> dict[str, AddedAdapter]:
        """Return what was added, by alias. Raises ServiceUnavailable."""
        with redis_errors():
            return {adapter.alias: adapter for adapter in _read(self._redis.hgetall(keys.added_adapters(self._graph)))}


def _read(stored: Mapping[bytes, bytes]) -> list[AddedAdapter]:
    return sorted((AddedAdapter(**json.loads(value)) for value in stored.values()), key=lambda adapter: adapter.alias)
