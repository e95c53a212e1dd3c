"""What Redis knows for ``/metrics``: read in one round trip, of the same cost however long the queues are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.redis import keys
from workers.jobs.redis.connection import connect_async, redis_errors

_PER_GRAPH = 4


@dataclass(frozen=True)
class GraphFigures:
    """A graph's queue at this moment, and all that was counted of its jobs (``workers/jobs/observe/measures.py``)."""

    queued: int
    running: int
    oldest_wait_s: float
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Snapshot:
    """All figures of one moment. ``max_memory_bytes`` is 0 where Redis has no limit."""

    graphs: Mapping[str, GraphFigures]
    workers: Sequence[WorkerPresence]
    deliveries: int
    memory_bytes: int
    max_memory_bytes: int


class MetricsView:
    """Reads the figures."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._redis = connect_async(redis_settings)

    async def read(self, graphs: Sequence[str]) -> Snapshot:
        """Return the figures of these graphs. Raises ServiceUnavailable."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for graph in graphs:
                pipeline.zcard(keys.queued(graph))
                pipeline.zcard(keys.running(graph))
                pipeline.zrange(keys.waiting(graph), 0, 0, withscores=True)
                pipeline.hgetall(keys.metrics(graph))
            pipeline.time()
            pipeline.hgetall(keys.WORKERS)
            pipeline.zcard(keys.DELIVERIES)
            pipeline.info("memory")
            *of_graphs, (seconds, microseconds), beats, deliveries, memory = await pipeline.execute()
        now = seconds + microseconds / 1e6
        parts = [of_graphs[place : place + _PER_GRAPH] for place in range(0, len(of_graphs), _PER_GRAPH)]
        return Snapshot(
            graphs={graph: _figures(part, now) for graph, part in zip(graphs, parts, strict=True)},
            workers=live_workers(beats, now),
            deliveries=int(deliveries),
            memory_bytes=int(memory["used_memory"]),
            max_memory_bytes=int(memory.get("maxmemory", 0)),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _figures(part: list[object], now: float) -> GraphFigures:
    queued, running, oldest, counts = part
    assert isinstance(oldest, list) and isinstance(counts, dict)  # noqa: S101 - as Redis answers these commands
    submitted_at = oldest[0][1] if oldest else now
    return GraphFigures(
        queued=int(str(queued)),
        running=int(str(running)),
        oldest_wait_s=max(0.0, now - submitted_at),
        counts={field.decode(): int(value) for field, value in counts.items()},
    )
