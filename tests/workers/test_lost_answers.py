"""The connection breaks after Redis did what it was asked and before it could say so."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from config.settings import RedisSettings
from tests.workers.jobs_support import JOBS, a_request, submit, waiting
from workers.jobs.job import Job, Status
from workers.jobs.store import JobStore


class LossyProxy:
    """Passes everything on, but the answer to the first script: there it hangs up."""

    def __init__(self, behind: RedisSettings) -> None:
        self._url = urlsplit(behind.url or "")
        self.lost = 0

    async def run(self, act: Callable[[RedisSettings], Awaitable[Job]]) -> Job:
        """Do something through the proxy."""
        served: list[asyncio.Task[None]] = []

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            done = await act(RedisSettings(url=f"redis://:{self._url.password}@127.0.0.1:{port}/0"))
            await asyncio.gather(*served)
        return done

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(self._url.hostname, self._url.port)
        back = asyncio.create_task(_pass_on(answers, writer))
        hung_up = False
        while not hung_up and (data := await reader.read(65536)):
            if hung_up := b"EVALSHA" in data and not self.lost:
                back.cancel()
                await asyncio.wait([back])
            requests.write(data)
        if hung_up:
            self.lost += 1
            await answers.read(65536)
        for end in (writer, requests):
            end.close()
            await end.wait_closed()
        await asyncio.wait([back])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def _submit(settings: RedisSettings) -> Job:
    store = JobStore(settings, JOBS)
    try:
        return await store.submit(a_request())
    finally:
        await store.close()


def test_a_submission_whose_answer_is_lost_is_accepted_once(redis_settings: RedisSettings) -> None:
    first = submit(redis_settings)  # the script is known to Redis from here on
    proxy = LossyProxy(redis_settings)
    job = asyncio.run(proxy.run(_submit))
    assert proxy.lost == 1
    assert job.status is Status.QUEUED
    assert waiting(redis_settings) == [first.id, job.id]
