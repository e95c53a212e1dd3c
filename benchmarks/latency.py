"""Added latency: the time of an HTTP request minus the time of the model's generate() for it.

Every answer carries the worker's own figures in its Server-Timing header, so both times are of the same request.
"""

import re
import statistics
import time
from collections import defaultdict
from pathlib import Path

import httpx2

from tests.support.service import Service, serving

_TIMING = re.compile(r"(\w+);dur=([\d.]+)")
_WARM_UP = 10


def added_latency(folder: Path, requests: int) -> list[str]:
    """Return table rows in milliseconds: p50, p95, p99 over ``requests`` requests, one after the other."""
    with serving(folder) as service:
        rows = _measure(service, requests)
    names = ["HTTP request", "generate()", "added (request - generate)", *sorted(set(rows) - _KEYS)]
    lines = ["| ms | p50 | p95 | p99 |", "|---|---|---|---|"]
    for name in names:
        cuts = statistics.quantiles(rows[name], n=100)
        lines.append(f"| {name} | {cuts[49]:.1f} | {cuts[94]:.1f} | {cuts[98]:.1f} |")
    ratio = statistics.median(rows["HTTP request"]) / statistics.median(rows["generate()"])
    lines += ["", f"The whole request takes {ratio:.3f} times the model's own time (medians; n = {requests})."]
    return lines


_KEYS = {"HTTP request", "generate()", "added (request - generate)"}


def _measure(service: Service, requests: int) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = defaultdict(list)
    for number in range(_WARM_UP + requests):
        body = {"prompt": "a red circle on a blue background", "seed": number}
        started = time.perf_counter()
        answer = service.http.post("/v3/images/generations", json=body)
        total = (time.perf_counter() - started) * 1000
        answer.raise_for_status()
        if number >= _WARM_UP:
            _note(rows, total, answer)
    return rows


def _note(rows: dict[str, list[float]], total: float, answer: httpx2.Response) -> None:
    stages = {name: float(value) for name, value in _TIMING.findall(answer.headers["server-timing"])}
    generate = stages.pop("generate")
    rows["HTTP request"].append(total)
    rows["generate()"].append(generate)
    rows["added (request - generate)"].append(total - generate)
    for stage in ("queue", "encode"):
        rows[f"of it {stage}"].append(stages[stage])
