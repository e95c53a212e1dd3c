"""``python -m benchmarks.depth``: what each call costs while 10, 1,000, 10,000 and 100,000 jobs wait.

The jobs are submitted by the product's own script to a Redis of the benchmark. For each call the table has the
processor time of the client (this process), that of Redis, the commands that Redis ran, and the bytes out of and into
Redis, all for one call; the last line of a call is the figure at the largest depth against that at the smallest. The
calls are those of the routes and of a worker; the measured owner has ten jobs at the end of the queue.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from benchmarks.depth.meter import Cost, Meter
from benchmarks.machine import machine
from config.job_store_settings import JobSettings, RedisSettings
from graphs.api_keys import Priority
from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from tests.support.polling import pause
from tests.support.redis_server import running_redis
from workers.jobs.claims import Claims
from workers.jobs.job import Job, new_job_id
from workers.jobs.job_options import JobOptions
from workers.jobs.observe.measured_times import FEWEST
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.observe.queue_view import QueueView
from workers.jobs.recovery import Recovery
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import SUBMIT
from workers.jobs.store import JobStore, Submission
from workers.jobs.submission import submit_call

_DEPTHS = (10, 1000, 10_000, 100_000)
_GRAPH = "demo"
_OWNERS = 10
_OWN_JOBS = 10
_AT_A_TIME = 10
_WARMED_UP = 3
_AT_ONCE = 500
_IDLE_WORKERS = 8
# As workers/process/supervision.py has them; a measured round has whole turns of both.
_RESEND_EVERY = 5
_REPEAT_EVERY = 2
_JOBS = JobSettings(
    max_queued=10**6, max_queued_per_key=10**6, max_queued_bytes=2**40, max_queued_bytes_per_key=2**40,
    max_kept_per_key=10**6, max_kept_bytes_per_key=2**40, lease_s=1.001,
)  # fmt: skip


def main() -> None:
    """Fill Redis to each depth and print what the calls cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depth", description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=_DEPTHS, metavar="JOBS")
    depths = parser.parse_args().depths
    print(machine())
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder), options=["--save", ""]) as server:
        pause(_JOBS.lease_s + 3)  # a reaper leaves the jobs alone while Redis is so young
        for depth in depths:
            for name, cost in _at_depth(server.settings, server.client(), depth):
                costs.setdefault(name, []).append(cost)
    print("| call | jobs that wait | client ms | Redis ms | commands | bytes out | bytes in |\n" + "|---" * 7 + "|")
    for name, found in costs.items():
        for depth, cost in zip(depths, found, strict=True):
            print(f"| {name} | {depth:,} | {cost.row()}")
        print(f"| {name} | last : first | {found[-1].against(found[0])}")


def _at_depth(settings: RedisSettings, client: "redis.Redis", depth: int) -> Iterator[tuple[str, Cost]]:
    """Yield the cost of each call while so many jobs wait."""
    client.flushall()
    keys = Keys.of(settings)
    client.rpush(keys.times(_GRAPH), *[f"10 1 {10**6} 10 0 10"] * FEWEST)
    _fill(client, keys, [_submission(f"owner-{place % _OWNERS}") for place in range(depth - _OWN_JOBS)])
    _fill(client, keys, [_submission() for _ in range(_OWN_JOBS)])
    meter = Meter(client)
    yield from _calls_of_clients(settings, meter)
    yield from _calls_of_workers(settings, meter)
    yield f"{_IDLE_WORKERS} idle workers beside, a second", _idle(settings, meter)


def _submission(owner: str = "measured") -> Submission:
    """Return a submission; those of the measured owner are behind all others."""
    priority = Priority.LOW if owner == "measured" else Priority.NORMAL
    request = ResolvedRequest(
        operation=Operation.GENERATION, graph=_GRAPH, model=_GRAPH, prompt="a red circle on a blue background",
        width=512, height=512, num_images_per_prompt=1, num_inference_steps=20, guidance_scale=7.5, rng_seed=42,
    )  # fmt: skip
    return Submission(request, options=JobOptions(owner=owner, priority=priority))


def _fill(client: "redis.Redis", keys: Keys, submissions: Sequence[Submission]) -> None:
    sha = client.script_load(SUBMIT.source(keys))
    left = iter(submissions)
    while some := list(islice(left, _AT_ONCE)):
        pipeline = client.pipeline(transaction=False)
        for submission in some:
            call = submit_call(keys, _JOBS, new_job_id(), submission, _GRAPH, "")
            pipeline.evalsha(sha, len(call["keys"]), *call["keys"], *call["args"])
        assert all(reply[0] == b"queued" for reply in pipeline.execute())


class _Client:
    """What the routes do for the owner who has the last jobs."""

    def __init__(self, settings: RedisSettings) -> None:
        self.store = JobStore(settings, _JOBS)
        self.view = QueueView(settings, _JOBS)
        self._submitted: list[Job] = []

    async def submit(self) -> None:
        job, _ = await self.store.submit(_submission(), _GRAPH, "a message")
        await self.view.estimates([job], {_GRAPH: 1})
        self._submitted.append(job)

    async def get(self) -> None:
        await self.view.estimates([await self.store.find(self._submitted[-1].id, "measured")], {_GRAPH: 1})

    async def page(self, status: str | None = None) -> None:
        found = await self.view.page("measured", after=None, limit=10, newest_first=True, status=status)
        await self.view.estimates(found.jobs, {_GRAPH: 1})
        assert len(found.jobs) == _OWN_JOBS

    async def cancel(self) -> None:
        await self.view.estimates([await self.store.cancel(self._submitted.pop())], {_GRAPH: 1})

    async def have_submitted(self, count: int) -> None:
        while len(self._submitted) > count:
            await self.cancel()
        while len(self._submitted) < count:
            await self.submit()

    async def close(self) -> None:
        await self.store.close()
        await self.view.close()


def _calls_of_clients(settings: RedisSettings, meter: Meter) -> Iterator[tuple[str, Cost]]:
    client = _Client(settings)
    calls: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
        "submit": (0, client.submit),
        "get": (1, client.get),
        "list of 10": (1, client.page),
        "list of 10 by status": (1, lambda: client.page("queued")),
        "cancel": (_AT_A_TIME, client.cancel),
    }
    with asyncio.Runner() as runner:
        for name, (submitted, call) in calls.items():

            async def made(call: Callable[[], Awaitable[None]] = call) -> None:
                for _ in range(_AT_A_TIME):
                    await call()

            def act(made: Callable[[], Coroutine[Any, Any, None]] = made) -> None:
                runner.run(made())

            def prepare(submitted: int = submitted) -> None:
                runner.run(client.have_submitted(submitted))

            prepare()
            act()
            yield name, meter.of(act, _AT_A_TIME, prepare)
        runner.run(client.close())


def _calls_of_workers(settings: RedisSettings, meter: Meter) -> Iterator[tuple[str, Cost]]:
    claims = Claims(settings, _JOBS, "worker")
    recovery = _recovery(settings, _GRAPH, "worker")

    def claim() -> None:
        claimed = claims.claim_next(_GRAPH)
        assert claimed and claims.hand_back(claimed)

    calls: dict[str, Callable[[], Any]] = {
        "claim and hand back": claim, "reap": recovery.reap, "look for lost messages": recovery.resend_lost,
    }  # fmt: skip
    for name, call in calls.items():
        for _ in range(_WARMED_UP):
            call()
        yield name, meter.of(partial(_made, call), _AT_A_TIME)


def _made(call: Callable[[], object]) -> None:
    for _ in range(_AT_A_TIME):
        call()


def _idle(settings: RedisSettings, meter: Meter) -> Cost:
    """Return what the main processes of idle workers do in a second, without Celery's own connection."""
    names = [f"worker-{place}" for place in range(_IDLE_WORKERS)]
    recoveries = {name: _recovery(settings, "another", name) for name in names}

    def second(number: int) -> None:
        for name, recovery in recoveries.items():
            if number % _RESEND_EVERY == 0:
                recovery.check_layout()
                recovery.resend_lost()
            if number % _REPEAT_EVERY == 0 and recovery.heartbeat(_presence(name)):
                recovery.reap()

    for number in range(_WARMED_UP):
        second(number)
        pause(_JOBS.lease_s)
    turn = _RESEND_EVERY * _REPEAT_EVERY
    return meter.of(lambda: list(map(second, range(turn))), turn)


def _recovery(settings: RedisSettings, graph: str, name: str) -> Recovery:
    return Recovery(settings, _JOBS, name, graph, lambda _: None)


def _presence(name: str) -> WorkerPresence:
    operations = tuple(operation.value for operation in Operation)
    return WorkerPresence(name, "another", "CPU", True, operations, 0.0, stage="idle", digest="0" * 12)


if __name__ == "__main__":
    main()
