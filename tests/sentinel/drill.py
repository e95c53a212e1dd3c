"""The two drills: the primary is killed again and again, or cut off together with a part of the service."""

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from cli.commands.worker import worker_command, worker_environment
from cli.local.child_environment import child_environment
from config.environment import load_settings
from config.settings import Settings
from tests.faults.parts import Part, until
from tests.sentinel.load import Load
from tests.sentinel.machines import TwoMachines, two_machines
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.sentinels import HERE, Place, Server, Watched

STEP_S = 0.06
CUT_S = 8.0
PER_SECOND = 4.0
_READY_WITHIN_S = 120.0
_ENDED_WITHIN_S = 180.0
_PAUSE_S = (1.0, 3.0)


@dataclass
class Outcome:
    """What a drill found. ``began`` are the moments of its faults; the lists of seconds belong to them.

    ``failover_s``: until the sentinels named another primary. ``replica_s``: until the old primary was a replica.
    ``pauses_s``: the longest time around a fault in which no API accepted a job.
    """

    kind: str
    wait_replicas: int
    load: Load
    began: list[float] = field(default_factory=list)
    failover_s: list[float] = field(default_factory=list)
    replica_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    ended_parts: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Return how many jobs were accepted, and are not known although their clients have not seen their ends."""
        return sum(job.ended_as == "gone" for job in self.load.accepted)

    @property
    def pauses_s(self) -> list[float]:
        moments = sorted(job.at for job in self.load.accepted)
        pauses = list(itertools.pairwise(moments))
        ends = [*self.began[1:], float("inf")]
        return [
            max((after - before for before, after in pauses if after > fault and before < end), default=0.0)
            for fault, end in zip(self.began, ends, strict=True)
        ]

    def lost_after(self) -> list[int]:
        """Return how many jobs were lost of those accepted since the fault before, for each fault, in their order."""
        lost = [job.at for job in self.load.accepted if job.ended_as == "gone"]
        ends = [*self.began[1:], float("inf")]
        starts = [float("-inf"), *self.began[1:]]
        return [sum(start <= at < end for at in lost) for start, end in zip(starts, ends, strict=True)]


async def kill_primaries(folder: Path, times: int, wait_replicas: int, seed: int) -> Outcome:
    """Kill the primary so many times under load; each time it comes back as a replica."""
    watched = Watched(folder)
    async with _service(folder, watched, wait_replicas, (HERE,), workers=2) as (apis, parts):
        outcome = Outcome("primary killed", wait_replicas, Load(apis, PER_SECOND))
        async with _under_load(outcome, parts):
            chance = random.Random(seed)
            for number in range(times):
                await asyncio.sleep(chance.uniform(*_PAUSE_S))
                primary = await asyncio.to_thread(watched.primary)
                outcome.began.append(time.monotonic())
                primary.kill()
                await _other_primary(watched, primary, outcome)
                await asyncio.to_thread(watched.restart_as_replica, primary)
                outcome.replica_s.append(time.monotonic() - outcome.began[-1])
                _say(outcome, number, times)
    return outcome


async def cut_off_primaries(folder: Path, times: int, wait_replicas: int, seed: int) -> Outcome:
    """Cut the cable of the primary's machine so many times; an API, a worker and a sentinel are there with it."""
    with two_machines() as machines:
        first, second = machines.places
        watched = Watched(folder, (first, second), (first, second, second))
        async with _service(folder, watched, wait_replicas, (first, second), workers=1) as (apis, parts):
            outcome = Outcome("cable cut", wait_replicas, Load(apis, PER_SECOND))
            async with _under_load(outcome, parts):
                chance = random.Random(seed)
                for number in range(times):
                    await asyncio.sleep(chance.uniform(*_PAUSE_S))
                    await _cut_once(machines, watched, outcome)
                    _say(outcome, number, times)
    return outcome


async def _cut_once(machines: TwoMachines, watched: Watched, outcome: Outcome) -> None:
    primary = watched.servers[0]
    began = time.monotonic()
    outcome.began.append(began)
    machines.cut()
    try:
        await _other_primary(watched, primary, outcome)
        await asyncio.sleep(max(0.0, began + CUT_S - time.monotonic()))
    finally:
        machines.join()
    await asyncio.to_thread(wait_until, watched.is_complete, "the old primary has become a replica", deadline_s=90)
    outcome.replica_s.append(time.monotonic() - began)
    await asyncio.to_thread(watched.fail_over)


async def _other_primary(watched: Watched, before: Server, outcome: Outcome) -> None:
    while await asyncio.to_thread(watched.primary) is before:
        await asyncio.sleep(0.05)
    outcome.failover_s.append(time.monotonic() - outcome.began[-1])


@asynccontextmanager
async def _service(
    folder: Path, watched: Watched, wait_replicas: int, places: tuple[Place, ...], workers: int
) -> AsyncIterator[tuple[list[str], list[Part]]]:
    """Run Redis, its replica and sentinels, and in each place an API and so many workers."""
    parts: list[Part] = []
    apis = []
    try:
        await asyncio.to_thread(watched.start)
        for number, place in enumerate(places):
            port = free_port()
            settings = _settings(folder, watched, wait_replicas, place, port)
            apis.append(f"http://{place.reached_at}:{port}")
            command = [*place.enter, sys.executable, "-P", "-m", "cli", "api"]
            parts.append(Part(f"api{number}", command, child_environment(settings), folder))
            for worker in range(workers):
                command = [*place.enter, *worker_command("graph")]
                parts.append(Part(f"worker{number}-{worker}", command, worker_environment(settings), folder))
        for part in parts:
            part.start()
        for api in apis:
            await until(_is_ready(api), f"{api} is ready", _READY_WITHIN_S)
        yield apis, parts
    finally:
        for part in parts:
            part.end()
        watched.stop()


def _settings(folder: Path, watched: Watched, wait_replicas: int, place: Place, port: int) -> Settings:
    return load_settings(
        redis={"url": watched.url(), **({"wait_replicas": wait_replicas} if wait_replicas else {})},
        http={"rest_port": port, "rest_bind_address": place.reached_at},
        worker={"engine": "simulated", "simulated_step_s": STEP_S},
        data_dir=folder / "data",
    )


def _is_ready(api: str) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            return httpx2.get(f"{api}/v2/health/ready", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    return is_ready


@asynccontextmanager
async def _under_load(outcome: Outcome, parts: list[Part]) -> AsyncIterator[None]:
    """Submit jobs while the block runs, then wait until each has ended or is gone."""
    began = time.monotonic()
    load = outcome.load
    running = asyncio.create_task(load.run())
    try:
        yield
        await asyncio.sleep(_PAUSE_S[1])
        load.stop()
        await asyncio.wait({running}, timeout=_ENDED_WITHIN_S)
        await load.look_again()
    finally:
        running.cancel()
        await asyncio.wait({running})
    outcome.took_s = time.monotonic() - began
    outcome.ended_parts = [part.name for part in parts if not part.is_running]


def _say(outcome: Outcome, number: int, times: int) -> None:
    print(
        f"{time.strftime('%X')} {outcome.kind}, WAIT {outcome.wait_replicas}: {number + 1} of {times}, failover "
        f"{outcome.failover_s[-1]:.1f} s, {len(outcome.load.accepted)} accepted, {len(outcome.load.open_jobs())} open",
        file=sys.stderr,
        flush=True,
    )
