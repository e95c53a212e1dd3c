"""Clients that submit jobs all the time and look after each accepted one until it has ended."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urljoin

import httpx2

_ROUND_S = 0.2
_LOOKS_AT_ONCE = 8
_STEPS = 3


@dataclass
class Accepted:
    """A job that was answered with 202: by which API, where it is found, and what its client saw of it since.

    ``ended_as`` is its final status as its client saw it, ``gone`` for a job that its API does not know.
    """

    api: str
    url: str
    at: float
    ended_as: str | None = None


@dataclass
class Load:
    """So many submissions a second to each API, no matter what becomes of the earlier ones."""

    apis: list[str]
    per_second: float
    accepted: list[Accepted] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _is_over: bool = False

    async def run(self) -> None:
        """Submit until ``stop``, and look after the accepted jobs until this is cancelled."""
        async with httpx2.AsyncClient(timeout=15) as http, asyncio.TaskGroup() as tasks:
            for api in self.apis:
                tasks.create_task(self._submit_on(http, api))
                tasks.create_task(self._look_on(http, api))

    def stop(self) -> None:
        """Submit nothing more."""
        self._is_over = True

    def open_jobs(self) -> list[Accepted]:
        """Return the jobs whose end no client has seen."""
        return [job for job in self.accepted if job.ended_as is None]

    async def look_again(self) -> None:
        """Ask once more for each job that was gone."""
        async with httpx2.AsyncClient(timeout=15) as http:
            for job in [job for job in self.accepted if job.ended_as == "gone"]:
                job.ended_as = None
                await self._look(http, job)

    async def _submit_on(self, http: httpx2.AsyncClient, api: str) -> None:
        under_way: set[asyncio.Task[None]] = set()
        while not self._is_over:
            task = asyncio.create_task(self._submit(http, api))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / self.per_second)
        await asyncio.gather(*under_way)

    async def _submit(self, http: httpx2.AsyncClient, api: str) -> None:
        body = {"prompt": f"a red circle {time.monotonic()}", "size": "128x128", "num_inference_steps": _STEPS}
        try:
            answer = await http.post(f"{api}/v3/images/generations", json=body, headers={"Prefer": "respond-async"})
        except httpx2.TransportError as error:
            self.refused[type(error).__name__] += 1
            return
        if answer.status_code == 202:
            self.accepted.append(Accepted(api, urljoin(api, answer.json()["urls"]["self"]), time.monotonic()))
        else:
            self.refused[str(answer.status_code)] += 1

    async def _look_on(self, http: httpx2.AsyncClient, api: str) -> None:
        while not (self._is_over and not self.open_jobs()):
            mine = [job for job in self.open_jobs() if job.api == api][:_LOOKS_AT_ONCE]
            await asyncio.gather(*(self._look(http, job) for job in mine), asyncio.sleep(_ROUND_S))

    async def _look(self, http: httpx2.AsyncClient, job: Accepted) -> None:
        with contextlib.suppress(httpx2.TransportError):
            answer = await http.get(job.url)
            if answer.status_code == 404:
                job.ended_as = "gone"
            elif answer.status_code == 200 and answer.json()["status"] not in ("queued", "in_progress"):
                job.ended_as = answer.json()["status"]
