"""``make bench``: what the service adds to the model's own time, and how long it takes to be ready.

Prints a table in Markdown. Absolute times belong to the machine they were measured on; the ratios travel better.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.adapters import switching
from benchmarks.cancelling import cancel_latency
from benchmarks.latency import added_latency
from benchmarks.listening import progress_overhead
from benchmarks.machine import machine
from benchmarks.queues.estimates import estimates
from benchmarks.queues.waiting import many_waiting
from benchmarks.startup import time_to_ready

MEASURES: dict[str, Callable[[Path, int], list[str]]] = {
    "latency": added_latency,
    "startup": time_to_ready,
    "waiting": many_waiting,
    "cancelling": cancel_latency,
    "listening": progress_overhead,
    "adapters": switching,
    "estimates": estimates,
}


def main() -> None:
    """Run the chosen measurements, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(MEASURES)} (default: all)")
    parser.add_argument("--requests", type=int, default=200, help="requests to time (default: 200)")
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(MEASURES):
        parser.error(f"unknown measure: {', '.join(sorted(unknown))}")
    print(machine())
    for name in arguments.measures or MEASURES:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n### {name}\n", flush=True)
            print("\n".join(MEASURES[name](Path(folder), arguments.requests)), flush=True)


if __name__ == "__main__":
    main()
