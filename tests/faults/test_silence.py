"""A worker whose connections died without a sign, in the middle of a job, takes jobs again."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.parts import Parts, running_parts
from tests.faults.plan import AskKind, make_plan
from tests.faults.witness import Witness

pytestmark = pytest.mark.usefixtures("processes")

LEASE_S = 3.0
_WITHIN_S = 120.0


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_worker_whose_connections_fell_silent_works_on(tmp_path: Path) -> None:
    """Celery cannot acknowledge its message then, and with one message at a time it would never take another."""
    asyncio.run(_fall_silent(tmp_path))


async def _fall_silent(folder: Path) -> None:
    async with running_parts(folder, LEASE_S) as parts, httpx2.AsyncClient(base_url=parts.url, timeout=60) as http:
        witness = Witness(parts.redis_url)
        first, other = parts.workers
        other.signal(signal.SIGSTOP, family=True)
        try:
            jobs = [await _submit(http, number) for number in range(3)]
            while first.pid not in {running.pid for running in await witness.running()}:
                await asyncio.sleep(0.02)
            parts.proxies[0].silence()
            await asyncio.wait_for(_completed(http, jobs), _WITHIN_S)
        finally:
            await witness.close()
        assert _starts(parts) == [1, 1], "nothing but a new connection was needed"


async def _submit(http: httpx2.AsyncClient, number: int) -> str:
    body: dict[str, Any] = {**make_plan(1, 0).ask_of_kind(number, AskKind.JOB).body(), "num_inference_steps": 20}
    answer = await http.post("/v3/images/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _completed(http: httpx2.AsyncClient, jobs: list[str]) -> None:
    for job in jobs:
        while (await http.get(f"/v3/images/jobs/{job}")).json()["status"] != "completed":
            await asyncio.sleep(0.2)


def _starts(parts: Parts) -> list[int]:
    return [worker.starts for worker in parts.workers]
