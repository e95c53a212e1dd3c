"""eta_seconds of the bundled model against the time that the jobs then took, from the fourth job on."""

import time
from pathlib import Path
from typing import Any

from tests.support.service import Service, serving

_FIRST = [{"size": "128x128", "steps": 20}, {"size": "256x256", "steps": 8}, {"size": "512x512", "steps": 4}]
_THEN = [
    {"size": "128x128", "steps": 20},
    {"size": "128x128", "steps": 5},
    {"size": "192x192", "steps": 30},
    {"size": "256x256", "steps": 20, "n": 2},
    {"size": "384x320", "steps": 10},
    {"size": "640x640", "steps": 6},
    {"size": "1024x1024", "steps": 4},
]


def estimates(folder: Path, _: int) -> list[str]:
    """Return a table row for each job of a series of sizes, steps and numbers of pictures."""
    lines = ["| job | eta_seconds | taken | ratio |", "|---|---|---|---|"]
    with serving(folder) as service:
        for body in _FIRST:
            assert _drawn(service, body)[0] is None
        for body in _THEN:
            eta_s, taken_s = _drawn(service, body)
            assert eta_s is not None
            name = ", ".join(f"{value} {name}" if name != "size" else str(value) for name, value in body.items())
            lines.append(f"| {name} | {eta_s:.1f} s | {taken_s:.2f} s | {eta_s / taken_s:.2f} |")
    return lines


def _drawn(service: Service, body: dict[str, Any]) -> tuple[float | None, float]:
    """Draw one job and return its first estimate and how long it took from the request on."""
    started = time.perf_counter()
    job = service.http.post("/v3/images/jobs", json={"prompt": "a red circle on a blue background", **body}).json()
    answer = service.http.get(f"/v3/images/jobs/{job['id']}/events", timeout=600)  # ends with the job
    answer.raise_for_status()
    return job["eta_seconds"], time.perf_counter() - started
