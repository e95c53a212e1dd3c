"""A graph's metrics: the fields of its hash in Redis, and the buckets of its histograms.

The script that makes a transition counts it in the same step (``lua/counting.lua``). So every figure is exact, outlives
every process, and is the same in all API processes. A histogram ``NAME`` has a field ``NAME:le:BOUND`` for each bucket
(which counts only what fell into that bucket) and ``NAME:us``, the sum in microseconds.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
