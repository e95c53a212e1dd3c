"""How soon a running job stops after it was cancelled: in milliseconds and in denoising steps."""

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.wire import ask, events
from tests.support.service import serving

_JOBS = 50
_STEP_S = 0.05
_CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    f"simulated, {_STEP_S * 1000:.0f} ms a step": (
        {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": str(_STEP_S)},
        {},
    ),
    "bundled model, 256x256": ({}, {"size": "256x256"}),
}


def cancel_latency(folder: Path, _: int) -> list[str]:
    """Return table rows: from sending the cancel to the job's last event, over 50 running jobs."""
    lines = [
        f"| n = {_JOBS} | p50 (ms) | p99 (ms) | median step (ms) | steps p50 | steps p99 | most steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, (name, (environment, fields)) in enumerate(_CASES.items()):
        with serving(folder / str(number), environment=environment) as service:
            taken = asyncio.run(_cancelled(service.url, fields))
        times, steps, paces = (list(column) for column in zip(*taken, strict=True))
        late = statistics.quantiles(times, n=100)
        more = statistics.quantiles(steps, n=100)
        figures = f"{late[49]:.0f} | {late[98]:.0f} | {statistics.median(paces):.0f}"
        lines.append(f"| {name} | {figures} | {more[49]:.0f} | {more[98]:.0f} | {max(steps):.0f} |")
    return lines


async def _cancelled(url: str, fields: dict[str, Any]) -> list[tuple[float, float, float]]:
    return [await _cancel_one(f"{url}/v3/images/jobs", {**fields, "seed": number}) for number in range(_JOBS)]


async def _cancel_one(url: str, fields: dict[str, Any]) -> tuple[float, float, float]:
    """Return the milliseconds from the cancel to the end, steps after its answer, and ms of a step before it."""
    _, content = await ask(url, {"prompt": "a red circle", "num_inference_steps": 100, **fields})
    home = f"{url}/{json.loads(content)['id']}"
    at: list[float] = []
    answer: dict[str, Any] = {}
    asked_at = 0.0
    step = 0
    async for event in events(f"{home}/events"):
        if event["type"] == "progress":
            at.append(time.perf_counter())
            step = event["step"]
        if step == 4 and not answer:
            asked_at = time.perf_counter()
            answer = json.loads((await ask(f"{home}/cancel"))[1])
    assert event["type"] == "cancelled", event
    return (time.perf_counter() - asked_at) * 1000, step - answer["step"], (at[3] - at[0]) / 3 * 1000
