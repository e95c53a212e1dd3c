"""Does the harm that the plan says, and keeps a record of it."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import redis

from tests.faults.clients import Clients
from tests.faults.parts import GRAPH, Part, Parts, children
from tests.faults.plan import APIS, WORKERS, Fault, Kind
from tests.faults.proxy import Proxy
from tests.faults.witness import Running, Witness
from tests.support.redis_keys import keys

_AIM_S = 3.0
_LOOK_EVERY_S = 0.05
_TINY = "1mb"


@dataclass
class Injected:
    """A fault that was done: when (unix seconds), and the jobs that the killed or frozen worker held.

    ``missed``: there was nothing to harm, such as no message in the queue.
    """

    fault: Fault
    began: float
    ended: float = float("inf")
    victims: list[Running] = field(default_factory=list)
    missed: bool = False


class Injector:
    """Knows how to do each kind of harm."""

    def __init__(self, parts: Parts, witness: Witness, clients: Clients) -> None:
        self._parts, self._witness, self.clients = parts, witness, clients
        self._one_at_a_time = asyncio.Lock()  # Redis itself is harmed in one way at a time
        self.done: list[Injected] = []
        self._ways: dict[Kind, Callable[[Fault, Injected], Awaitable[None]]] = {
            Kind.CHILD_KILL: self._child_kill,
            Kind.WORKER_KILL: self._worker_kill,
            Kind.API_KILL: self._api_kill,
            Kind.WORKER_FREEZE: self._worker_freeze,
            Kind.REDIS_KILL: self._redis_kill,
            Kind.REDIS_FREEZE: self._redis_freeze,
            Kind.CLIENT_PAUSE: self._client_pause,
            Kind.CLIENT_KILL: self._client_kill,
            Kind.NETWORK_CUT: lambda fault, _: self._proxy(fault).cut(fault.lasts_s),
            Kind.NETWORK_STALL: lambda fault, _: self._proxy(fault).stall(fault.lasts_s),
            Kind.NETWORK_SILENCE: self._network_silence,
            Kind.ANSWER_LOSS: self._answer_loss,
            Kind.MESSAGE_LOSS: self._message_loss,
            Kind.MESSAGE_DOUBLE: self._message_double,
            Kind.POISON: self._poison,
            Kind.MAXMEMORY: self._maxmemory,
            Kind.WORKER_SIGTERM: self._worker_sigterm,
            Kind.API_SIGTERM: self._api_sigterm,
        }

    async def do(self, fault: Fault) -> None:
        """Do it, and return when it is over."""
        injected = Injected(fault, time.time())
        self.done.append(injected)
        await self._ways[fault.kind](fault, injected)
        injected.ended = time.time()

    async def _worker(self, fault: Fault, injected: Injected) -> Part:
        """The worker to harm: one that is at work where the fault aims."""
        end = time.monotonic() + (_AIM_S if fault.aim else 0.0)
        chosen = self._parts.workers[fault.part % WORKERS]
        while time.monotonic() < end:
            busy = {running.pid for running in await self._witness.running()}
            found = [worker for worker in self._parts.workers if worker.is_running and worker.pid in busy]
            if found:
                chosen = chosen if chosen in found else found[0]
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        injected.victims = [running for running in await self._witness.running() if running.pid == chosen.pid]
        injected.began = time.time()
        return chosen

    async def _child_kill(self, fault: Fault, injected: Injected) -> None:
        worker = await self._worker(fault, injected)
        found = children(worker.pid)
        injected.missed = not found
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _worker_kill(self, fault: Fault, injected: Injected) -> None:
        (await self._worker(fault, injected)).signal(signal.SIGKILL)

    async def _worker_sigterm(self, fault: Fault, injected: Injected) -> None:
        (await self._worker(fault, injected)).signal(signal.SIGTERM)

    async def _worker_freeze(self, fault: Fault, injected: Injected) -> None:
        worker = await self._worker(fault, injected)
        pids = [worker.pid, *children(worker.pid)]
        for what, wait_s in ((signal.SIGSTOP, fault.lasts_s), (signal.SIGCONT, 0.0)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)
            await asyncio.sleep(wait_s)

    def _api(self, fault: Fault) -> Part:
        return self._parts.apis[fault.part % APIS]

    async def _api_kill(self, fault: Fault, _: Injected) -> None:
        self._api(fault).signal(signal.SIGKILL)

    async def _api_sigterm(self, fault: Fault, _: Injected) -> None:
        self._api(fault).signal(signal.SIGTERM)

    async def _redis_kill(self, fault: Fault, _: Injected) -> None:
        async with self._one_at_a_time:
            server = self._parts.redis
            server.down_until = time.monotonic() + fault.lasts_s
            starts = server.starts
            server.signal(signal.SIGKILL)
            while server.starts == starts or not await self._answers():
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _redis_freeze(self, fault: Fault, _: Injected) -> None:
        async with self._one_at_a_time:
            self._parts.redis.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.lasts_s)
            self._parts.redis.signal(signal.SIGCONT)

    async def _client_pause(self, fault: Fault, _: Injected) -> None:
        async with self._one_at_a_time:
            await self._insist("CLIENT", "PAUSE", str(int(fault.lasts_s * 1000)), "ALL")
            await asyncio.sleep(fault.lasts_s)

    async def _client_kill(self, _: Fault, __: Injected) -> None:
        async with self._one_at_a_time:
            await self._insist("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def _proxy(self, fault: Fault) -> Proxy:
        return self._parts.proxies[fault.part]

    async def _network_silence(self, fault: Fault, _: Injected) -> None:
        self._proxy(fault).silence()

    async def _answer_loss(self, fault: Fault, _: Injected) -> None:
        self._proxy(fault).lose_answers(fault.times)
        end = time.monotonic() + _AIM_S
        while self._proxy(fault).answers_to_lose and time.monotonic() < end:
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _message_loss(self, _: Fault, injected: Injected) -> None:
        injected.missed = not await self._with_a_message("LPOP")

    async def _message_double(self, _: Fault, injected: Injected) -> None:
        message = await self._with_a_message("LINDEX", 0)
        injected.missed = message is None
        if message is not None:
            await self._insist("LPUSH", keys.messages(GRAPH), message)

    async def _with_a_message(self, command: str, *arguments: object) -> object:
        end = time.monotonic() + _AIM_S
        while time.monotonic() < end:
            if found := await self._insist(command, keys.messages(GRAPH), *arguments):
                return found
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _poison(self, fault: Fault, _: Injected) -> None:
        await self.clients.ask(self.clients.plan.poison(fault))

    async def _maxmemory(self, fault: Fault, _: Injected) -> None:
        async with self._one_at_a_time:
            await self._insist("CONFIG", "SET", "maxmemory", _TINY)
            await asyncio.sleep(fault.lasts_s)
            await self._insist("CONFIG", "SET", "maxmemory", "0")

    async def _answers(self) -> bool:
        try:
            return bool(await self._witness.client.ping())
        except redis.RedisError:
            return False

    async def _insist(self, *command: object) -> object:
        """Send a command until Redis takes it: it may be away, or full, for another fault's sake."""
        while True:
            try:
                found: object = await self._witness.client.execute_command(*command)
                return found
            except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.OutOfMemoryError):
                await asyncio.sleep(_LOOK_EVERY_S)
