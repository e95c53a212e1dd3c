"""Many workers on one queue: do they all draw all the time, and what does a job cost?

    python -m benchmarks.queues.fleet --workers 8 16 32 64

The engine is simulated (5 s a job), so that the cores are free for everything else. The efficiency is the time that the
jobs take on so many workers without any pause between them, over the time from the first start to the last end.
"""

import argparse
import asyncio
import json
import os
import re
import tempfile
import time
from pathlib import Path

import redis

from benchmarks.machine import machine
from benchmarks.queues.workers import more_workers, redis_url_of
from benchmarks.wire import allow_many_connections, ask
from tests.support.service import Service, serving

_STEPS = 10
_STEP_S = 0.5
_JOBS_A_WORKER = 4
_MOST_AT_ONCE = 64
_POLL_S = 0.5
_ENVIRONMENT = {
    "IMAGEGEN_WORKER__ENGINE": "simulated",
    "IMAGEGEN_WORKER__SIMULATED_STEP_S": str(_STEP_S),
    "IMAGEGEN_LOG__LEVEL": "WARNING",
}
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a table, a row for each number of workers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues.fleet", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 16, 32, 64])
    arguments = parser.parse_args()
    allow_many_connections(_MOST_AT_ONCE)
    print(machine())
    print("| workers | ready after s | MiB a worker | jobs | s | efficiency | CPU ms a job | Redis bytes out a job |")
    print("|---|---|---|---|---|---|---|---|")
    for count in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(Path(folder), count), flush=True)


def _row(folder: Path, count: int) -> str:
    with serving(folder, environment=_ENVIRONMENT) as service:
        started = time.perf_counter()
        with more_workers(folder, count - 1, _ENVIRONMENT):
            ready_s = time.perf_counter() - started
            asyncio.run(_all_ended(service, count))  # each worker has drawn once
            mib = _worker_bytes(folder) / count / 2**20
            figures = _measured(service, folder, count)
    return f"| {count} | {ready_s:.1f} | {mib:.0f} | {figures}"


def _measured(service: Service, folder: Path, count: int) -> str:
    jobs = _JOBS_A_WORKER * count
    with redis.Redis.from_url(redis_url_of(folder)) as client:
        cpu_s = _cpu_s(folder)
        sent = client.info("stats")["total_net_output_bytes"]
        seconds = asyncio.run(_all_ended(service, jobs))
        sent = client.info("stats")["total_net_output_bytes"] - sent
        cpu_ms = (_cpu_s(folder) - cpu_s) * 1000
    efficiency = jobs * _STEPS * _STEP_S / count / seconds
    return f"{jobs} | {seconds:.1f} | {efficiency:.3f} | {cpu_ms / jobs:.0f} | {sent / jobs:,.0f} |"


async def _all_ended(service: Service, jobs: int) -> float:
    """Submit so many jobs and wait for the end of all; return the seconds from the first start to the last end."""
    turns = asyncio.Semaphore(_MOST_AT_ONCE)
    url = f"{service.url}/v3/images/jobs"

    async def submitted(seed: int) -> str:
        async with turns:
            body = {"prompt": "a red circle", "seed": seed, "num_inference_steps": _STEPS}
            status, content = await ask(url, body)
        assert status == 202, content
        return f"{url}/{json.loads(content)['id']}"

    urls = await asyncio.gather(*map(submitted, range(jobs)))
    ended = [await _ended(one) for one in urls]
    return (max(job["completed_at_ms"] for job in ended) - min(job["started_at_ms"] for job in ended)) / 1000


async def _ended(url: str) -> dict[str, int]:
    while True:
        _, content = await ask(url, method="GET")
        job: dict[str, int] = json.loads(content)
        if job["completed_at_ms"] is not None:
            assert job["error"] is None, job
            return job
        await asyncio.sleep(_POLL_S)


def _processes(folder: Path) -> list[Path]:
    """Return the folders in /proc of the processes on this service's Redis, and of that Redis."""
    (socket,) = folder.glob("data/**/redis.conf")
    marks = (str(socket.parent).encode(), str(folder).encode())
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it ended while we looked
            continue
        if any(mark in texts for mark in marks) and process.name != str(os.getpid()):
            found.append(process)
    return found


def _cpu_s(folder: Path) -> float:
    """Return the processor time of all processes so far. None of them ends meanwhile."""
    fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in _processes(folder)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS_A_SECOND


def _worker_bytes(folder: Path) -> int:
    """Return the memory of all workers: each process's own, and its share of what it shares with others."""
    found = 0
    for process in _processes(folder):
        if b"workers.start" in (process / "cmdline").read_bytes():
            (kib,) = re.findall(r"^Pss:\s+(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)
            found += int(kib) * 1024
    return found


if __name__ == "__main__":
    main()
