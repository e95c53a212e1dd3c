"""The cost of following jobs: 50 jobs on the bundled model, with and without a reader of each job's events.

Rounds with and without readers alternate, so that other load on the machine slows both alike.
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
_POLL_S = 0.05


def progress_overhead(folder: Path, _: int) -> list[str]:
    """Return table rows in seconds, medians over the rounds, and the ratio."""
    without_listeners: list[float] = []
    with_listeners: list[float] = []
    with serving(folder) as service:
        url = f"{service.url}/v3/images/jobs"
        asyncio.run(_round(url, listen=False))  # warm-up
        for _ in range(_ROUNDS):
            without_listeners.append(asyncio.run(_round(url, listen=False)))
            with_listeners.append(asyncio.run(_round(url, listen=True)))
    without = statistics.median(without_listeners)
    with_each = statistics.median(with_listeners)
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
    urls = [await _submitted(url, number) for number in range(_JOBS)]
    listeners = [asyncio.create_task(_listen(url_of_job)) for url_of_job in urls] if listen else []
    while not await _has_ended(urls[-1]):
        await asyncio.sleep(_POLL_S)
    seconds = time.perf_counter() - started
    assert set(await asyncio.gather(*listeners)) <= {"completed"}
    return seconds


async def _submitted(url: str, seed: int) -> str:
    status, content = await ask(url, {"prompt": "a red circle", "seed": seed, **_JOB})
    assert status == 202, content
    return f"{url}/{json.loads(content)['id']}"


async def _listen(url_of_job: str) -> str:
    kinds = [str(event["type"]) async for event in events(f"{url_of_job}/events")]
    assert kinds.count("progress") > 0
    return kinds[-1]


async def _has_ended(url_of_job: str) -> bool:
    _, content = await ask(url_of_job, method="GET")
    return json.loads(content)["completed_at"] is not None
