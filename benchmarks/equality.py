"""Do equal requests draw equal images with LoRA adapters? ``python -m benchmarks.equality`` prints a table in Markdown.

Each number is how many of twelve requests draw other images than a new engine that draws only that request, with
freed memory overwritten in between. ``before`` is the engine without the cure (``ranks_change`` False), which must show
differences on a CPU in f32: a check that cannot fail shows nothing. Takes about 20 minutes on 2 cores.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine
from tests.workers.engine.equality_support import CALLS, COUNTS, FAMILIES, MODES, PRECISIONS, Bench, count_differing


def main() -> None:
    """Print the rows of the chosen families, modes and precisions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equality", description=__doc__)
    for name, values in (("families", FAMILIES), ("modes", tuple(MODES)), ("precisions", PRECISIONS)):
        parser.add_argument(f"--{name}", nargs="+", choices=values, default=values)
    chosen = parser.parse_args()
    print(machine())
    print(f"\nOf {CALLS} equal and {CALLS} mixed requests:\n")
    print("| family | adapters | precision | images a request | before: equal, mixed | equal | mixed |")
    print("|---|---|---|---|---|---|---|", flush=True)
    total = 0
    for family in chosen.families:
        for mode in chosen.modes:
            for precision in chosen.precisions:
                with tempfile.TemporaryDirectory() as folder:
                    total += _cell(family, mode, precision, Path(folder))
    print(f"\nImages that differ now: {total}.")


def _cell(family: str, mode: str, precision: str, folder: Path) -> int:
    bench = Bench(family, mode, precision, folder)
    now = [count_differing(bench, count) for count in COUNTS]
    before: Sequence[tuple[int, int] | None] = [None] * len(COUNTS)
    if bench.engine.switches_adapters:
        bench.restart(ranks_change=False)
        before = [count_differing(bench, count) for count in COUNTS]
    for count, (equal, mixed), old in zip(COUNTS, now, before, strict=True):
        without = "-" if old is None else f"{old[0]}, {old[1]}"
        print(f"| {family} | {mode} | {precision} | {count} | {without} | {equal} | {mixed} |", flush=True)
    return sum(map(sum, now))


if __name__ == "__main__":
    main()
