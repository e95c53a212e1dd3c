"""What it costs that somebody listens: 50 jobs on the bundled model, with and without a reader of each job's events.

Rounds with and without take turns, so that a busy machine slows both alike.
"""

import asyncio
import json
import statistics
import time
from pathlib import Path

from benchmarks.wire import ask, events
from tests.support.service import serving

_JOBS = 50
_ROUNDS = 3
_JOB = {"size": "128x128", "num_inference_steps": 10}
_LOOK_EVERY_S = 0.05


def progress_overhead(folder: Path, _: int) -> list[str]:
    """Return table rows in seconds, medians over the rounds, and the ratio."""
    quiet: list[float] = []
    heard: list[float] = []
    with serving(folder) as service:
        url = f"{service.url}/v3/images/jobs"
        asyncio.run(_round(url, listen=False))  # warm-up
        for _ in range(_ROUNDS):
            quiet.append(asyncio.run(_round(url, listen=False)))
            heard.append(asyncio.run(_round(url, listen=True)))
    without, with_each = statistics.median(quiet), statistics.median(heard)
    return [
        f"| {_JOBS} jobs, median of {_ROUNDS} rounds | seconds |",
        "|---|---|",
        f"| no listener | {without:.2f} |",
        f"| a listener for each job | {with_each:.2f} |",
        f"| ratio | {with_each / without:.3f} |",
    ]


async def _round(url: str, *, listen: bool) -> float:
    """Return the seconds from the first job's submission to the last one's end."""
    started = time.perf_counter()
    homes = [await _submitted(url, number) for number in range(_JOBS)]
    listeners = [asyncio.create_task(_listen(home)) for home in homes] if listen else []
    while not await _has_ended(homes[-1]):
        await asyncio.sleep(_LOOK_EVERY_S)
    seconds = time.perf_counter() - started
    assert set(await asyncio.gather(*listeners)) <= {"completed"}
    return seconds


async def _submitted(url: str, seed: int) -> str:
    status, content = await ask(url, {"prompt": "a red circle", "seed": seed, **_JOB})
    assert status == 202, content
    return f"{url}/{json.loads(content)['id']}"


async def _listen(home: str) -> str:
    kinds = [str(event["type"]) async for event in events(f"{home}/events")]
    assert kinds.count("progress") > 0
    return kinds[-1]


async def _has_ended(home: str) -> bool:
    _, content = await ask(home, method="GET")
    return json.loads(content)["completed_at"] is not None
