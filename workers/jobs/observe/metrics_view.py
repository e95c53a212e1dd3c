"""The metrics of one moment, as the API reads them from Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.observe.metrics import EVICTION_REASONS
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.observe.worker_table import WorkerTable
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys

_PER_GRAPH = 6


@dataclass(frozen=True)
class GraphFigures:
    """A graph's queue at one moment, and the counts of its metrics hash."""

    queued: int
    queued_bytes: int
    running: int
    oldest_wait_s: float
    counts: Mapping[str, int]
    paused_at: float | None = None


@dataclass(frozen=True)
class KeptFigures:
    """What Redis keeps of all owners at one moment: estimated bytes, ended jobs, and evictions by reason."""

    unfinished_bytes: int
    ended_bytes: int
    ended_jobs: int
    largest_owner_bytes: int
    evicted: Mapping[str, int]


@dataclass(frozen=True)
class MetricsSnapshot:
    """The metrics of one moment. ``max_memory_bytes`` is 0 where Redis has no limit."""

    graphs: Mapping[str, GraphFigures]
    kept: KeptFigures
    workers: Sequence[WorkerPresence]
    deliveries: int
    memory_bytes: int
    max_memory_bytes: int


class MetricsView:
    """Reads the metrics. The cost depends neither on the length of the queues nor on workers that stay the same."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._workers = WorkerTable(self._redis, redis_settings)

    async def read(self, graphs: Sequence[str]) -> MetricsSnapshot:
        """Return the metrics of these graphs. Raises ServiceUnavailable."""
        workers = await self._workers.live()
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for graph in graphs:
                pipeline.zcard(self._keys.queued(graph))
                pipeline.hget(self._keys.backlog(graph), "bytes")
                pipeline.zcard(self._keys.running(graph))
                pipeline.zrange(self._keys.waiting(graph), 0, 0, withscores=True)
                pipeline.hgetall(self._keys.metrics(graph))
                pipeline.get(self._keys.paused(graph))
            pipeline.time()
            pipeline.zcard(self._keys.deliveries)
            pipeline.info("memory")
            pipeline.hmget(
                self._keys.kept, ["unfinished", "ended", *(f"evicted:{reason}" for reason in EVICTION_REASONS)]
            )
            pipeline.hlen(self._keys.ended_sizes)
            pipeline.zrevrange(self._keys.kept_ended, 0, 0, withscores=True)
            (
                *of_graphs,
                (seconds, microseconds),
                deliveries,
                memory,
                kept,
                ended,
                largest,
            ) = await pipeline.execute()
        now = seconds + microseconds / 1e6
        parts = [of_graphs[place : place + _PER_GRAPH] for place in range(0, len(of_graphs), _PER_GRAPH)]
        return MetricsSnapshot(
            graphs={graph: _figures(part, now) for graph, part in zip(graphs, parts, strict=True)},
            kept=_kept_figures([int(value or 0) for value in kept], ended, largest),
            workers=workers,
            deliveries=int(deliveries),
            memory_bytes=int(memory["used_memory"]),
            max_memory_bytes=int(memory.get("maxmemory", 0)),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _kept_figures(counts: Sequence[int], ended_jobs: int, largest: Sequence[tuple[bytes, float]]) -> KeptFigures:
    unfinished_bytes, ended_bytes, *evicted = counts
    return KeptFigures(
        unfinished_bytes,
        ended_bytes,
        ended_jobs,
        largest_owner_bytes=int(largest[0][1]) if largest else 0,
        evicted=dict(zip(EVICTION_REASONS, evicted, strict=True)),
    )


def _figures(part: list[object], now: float) -> GraphFigures:
    queued, queued_bytes, running, oldest, counts, paused_at = part
    assert isinstance(queued_bytes, bytes | None) and isinstance(oldest, list)  # noqa: S101 - the types of these replies
    assert isinstance(paused_at, bytes | None)  # noqa: S101 - the type of this reply
    assert isinstance(counts, dict)  # noqa: S101 - the types of these replies
    submitted_at = oldest[0][1] if oldest else now
    return GraphFigures(
        queued=int(str(queued)),
        queued_bytes=int(queued_bytes or 0),
        running=int(str(running)),
        oldest_wait_s=max(0.0, now - submitted_at),
        counts={field.decode(): int(value) for field, value in counts.items()},
        paused_at=None if paused_at is None else float(paused_at),
    )
