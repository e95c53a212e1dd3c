"""The time from the command to readiness: with an empty data folder, and with the data of the first start."""

import time
from pathlib import Path

from tests.support.service import serving

_WARM_STARTS = 3


def time_to_ready(folder: Path, _: int) -> list[str]:
    """Return table rows in seconds. The installation is not included: see docs/measurements.md."""
    rows = [("first start (empty data folder)", _start(folder))]
    rows += [(f"start {number + 2} (same data folder)", _start(folder)) for number in range(_WARM_STARTS)]
    return ["| start | seconds to ready |", "|---|---|", *(f"| {name} | {value:.1f} |" for name, value in rows)]


def _start(folder: Path) -> float:
    started = time.perf_counter()
    with serving(folder):
        return time.perf_counter() - started
