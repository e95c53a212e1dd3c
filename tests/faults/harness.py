"""One run: start the parts, drive load, do the faults, wait until everything has ended, and gather what is known."""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.clients import Answer, Clients, Seen
from tests.faults.inject import Injected, Injector
from tests.faults.parts import Parts, running_parts
from tests.faults.plan import AskKind, Plan
from tests.faults.store import Stored, read_store
from tests.faults.witness import Story, Witness

CLIENTS = 6
_ENDED_WITHIN_S = 180.0
_WATCH_EVERY_S = 0.5
_OVERLAP_AFTER_S = 20.0
_LAST = 10**9
# On average, with all clients at work.
_ASK_WITHIN_S = 2.0
_DEATH = "Worker exited prematurely"


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at."""

    plan: Plan
    took_s: float
    faults: list[Injected]
    seen: Seen
    stories: dict[str, Story]
    stored: Stored
    last: Answer
    unfinished: list[str]
    deaths: int = 0  # of processes that drew, as the workers' logs have them


async def run(plan: Plan, folder: Path) -> Evidence:
    """Do what the plan says, with the processes' logs in ``folder``."""
    began = time.monotonic()
    async with running_parts(folder, plan.lease_s, plan.breaks_after) as parts:
        witness, clients = Witness(parts.redis_url), Clients(plan, parts.url)
        injector = Injector(parts, witness, clients)
        watching = asyncio.create_task(_watch(witness))
        load = asyncio.create_task(clients.run(CLIENTS))
        try:
            unfinished = await _harm(plan, injector)
            if plan.asks is None:
                clients.stop()
            unfinished += await _over("clients", {load}, _ENDED_WITHIN_S + (plan.asks or 0) * _ASK_WITHIN_S)
            return await _gather(plan, parts, witness, injector, unfinished, began)
        finally:
            for task in (watching, load):
                task.cancel()
            await asyncio.wait({watching, load})
            await clients.close()
            await witness.close()


async def _watch(witness: Witness) -> None:
    while True:
        await witness.read_on()
        await asyncio.sleep(_WATCH_EVERY_S)


async def _harm(plan: Plan, injector: Injector) -> list[str]:
    tasks = set()
    for fault in plan.faults:
        await asyncio.sleep(fault.pause_s)
        task = asyncio.create_task(injector.do(fault), name=f"fault {fault.number}, {fault.kind}")
        tasks.add(task)
        place = f"{fault.number + 1} of {len(plan.faults)}"
        print(f"{time.strftime('%X')} fault {place}: {fault.kind}, {fault.lasts_s:.1f} s", file=sys.stderr, flush=True)
        if not fault.overlaps:
            await asyncio.wait({task}, timeout=_OVERLAP_AFTER_S)
    return await _over("faults", tasks)


async def _over(what: str, tasks: set[asyncio.Task[None]], within_s: float = _ENDED_WITHIN_S) -> list[str]:
    """Wait for the tasks' ends; say which went wrong, or on for too long."""
    if not tasks:
        return []
    done, pending = await asyncio.wait(tasks, timeout=within_s)
    wrong = [f"{task.get_name()}: {task.exception()!r}" for task in done if task.exception() is not None]
    for task in pending:
        task.cancel()
    return wrong + [f"{what}: {task.get_name()} has not ended within {within_s:.0f} s" for task in pending]


async def _gather(
    plan: Plan, parts: Parts, witness: Witness, injector: Injector, unfinished: list[str], began: float
) -> Evidence:
    clients = injector.clients
    try:
        await parts.ready()
    except AssertionError as error:
        unfinished.append(str(error))
    await _all_final(parts)
    last = await clients.ask(plan.ask_of_kind(_LAST, AskKind.WAIT))
    await _settled(parts)
    await witness.read_on()
    stored = read_store(parts.redis_url)
    took_s = time.monotonic() - began
    deaths = sum(worker.log.read_text(errors="replace").count(_DEATH) for worker in parts.workers)
    return Evidence(plan, took_s, injector.done, clients.seen, witness.stories, stored, last, unfinished, deaths)


async def _all_final(parts: Parts) -> None:
    """Wait until no job is left to do, at most as long as any may take; what is left then is found by the checks."""
    end = time.monotonic() + _ENDED_WITHIN_S
    while read_store(parts.redis_url).open_jobs and time.monotonic() < end:
        await asyncio.sleep(_WATCH_EVERY_S)


async def _settled(parts: Parts) -> None:
    """Wait until workers have taken the messages that are too many, and each counts as ready."""
    end = time.monotonic() + _ENDED_WITHIN_S / 3
    while time.monotonic() < end:
        stored = read_store(parts.redis_url)
        if not stored.messages and len(stored.ready_workers) == len(parts.workers):
            return
        await asyncio.sleep(_WATCH_EVERY_S)
