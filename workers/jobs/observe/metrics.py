"""A graph's metrics: the fields of its hash in Redis, the buckets of its histograms, and how ``/metrics`` reads them.

The script that makes a transition counts it in the same step (``lua/counting.lua``). So every figure is exact, outlives
every process, and is the same in all API processes. A histogram ``NAME`` has a field ``NAME:le:BOUND`` for each bucket
(which counts only what fell into that bucket) and ``NAME:us``, the sum in microseconds.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys

# For waiting times, whole jobs and whole generations: from an empty queue to the longest job.
DURATION_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
# For single stages: from the encoder of a tiny model to a step of a large one on a CPU.
STAGE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Why ended jobs went before their time (lua/keeping.lua): a bound of their owner, or the room of all jobs.
EVICTION_REASONS = ("owner_bytes", "owner_jobs", "memory")

STEP = "denoise_step"
# In the order of a job.
STAGES = ("prepare", "text_encode", "vae_encode", STEP, "vae_decode", "encode", "store")
# A worker's ``seconds`` also hold the sum of the steps and the whole generation, which are no stages.
_NOT_STAGES = ("denoise", "generate")


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper bound (the form of Prometheus), and the sum in seconds."""

    buckets: list[tuple[str, int]]
    sum_s: float


def bound_text(bound_s: float) -> str:
    """Return a bound as it is written in field names and labels."""
    return f"{bound_s:.6g}"


def observation(name: str, bounds_s: tuple[float, ...], values_s: Iterable[float]) -> Counter[str]:
    """Return the increments of the histogram ``name`` for these values, by field."""
    added: Counter[str] = Counter()
    for value_s in values_s:
        place = bisect_left(bounds_s, value_s)
        added[f"{name}:le:{bound_text(bounds_s[place]) if place < len(bounds_s) else 'inf'}"] += 1
        added[f"{name}:us"] += max(0, round(value_s * 1e6))
    return added


def stages_measured(seconds: Mapping[str, float], steps_s: Iterable[float] = ()) -> Counter[str]:
    """Return the increments of a graph's metrics for one job, by field.

    ``seconds``: by stage; ``steps_s``: of each step. A stage of zero seconds did not run (text to image has no VAE
    encoder).
    """
    added = observation(f"stage/{STEP}", STAGE_BOUNDS_S, steps_s)
    for stage, value_s in seconds.items():
        if stage == "generate":
            added += observation("generate", DURATION_BOUNDS_S, [value_s])
        elif stage not in _NOT_STAGES and value_s > 0:
            added += observation(f"stage/{stage}", STAGE_BOUNDS_S, [value_s])
    return added


def histogram(stored: Mapping[str, int], name: str, bounds_s: tuple[float, ...]) -> Histogram:
    """Return the histogram ``name`` of a graph's metrics hash."""
    total = 0
    buckets = []
    for bound in [*map(bound_text, bounds_s), "inf"]:
        total += stored.get(f"{name}:le:{bound}", 0)
        buckets.append(("+Inf" if bound == "inf" else bound, total))
    return Histogram(buckets, stored.get(f"{name}:us", 0) / 1e6)


def by_label(stored: Mapping[str, int], beginning: str) -> dict[str, int]:
    """Return the counts of fields ``beginning:LABEL`` by label, in a fixed order."""
    found = {field.removeprefix(f"{beginning}:"): n for field, n in stored.items() if field.startswith(f"{beginning}:")}
    return dict(sorted(found.items()))


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
    """Reads the metrics in one round trip, whose cost does not depend on the length of the queues."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)

    async def read(self, graphs: Sequence[str]) -> MetricsSnapshot:
        """Return the metrics of these graphs. Raises ServiceUnavailable."""
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
            pipeline.hgetall(self._keys.workers)
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
                beats,
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
            workers=live_workers(beats, now),
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
