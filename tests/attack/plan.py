"""Which attack begins when: the same for the same seed."""

import random
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Planned:
    """``at_s``: seconds after the start of the run; ``seed``: of the attack's own choices."""

    at_s: float
    name: str
    seed: int


def make_plan(seed: int, count: int, duration_s: float, names: Collection[str]) -> list[Planned]:
    """Return so many attacks in the order of their times, each of the names about equally often."""
    chosen = random.Random(seed)
    rounds: list[str] = []
    while len(rounds) < count:
        rounds += chosen.sample(sorted(names), len(names))
    times = sorted(chosen.uniform(0, duration_s) for _ in range(count))
    return [Planned(at_s, name, chosen.randrange(2**32)) for at_s, name in zip(times, rounds[:count], strict=True)]
