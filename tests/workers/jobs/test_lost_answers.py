"""The connection breaks after Redis ran a script and before its reply arrived."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pytest

from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    JOBS,
    Upkeep,
    a_request,
    claimed,
    claims_of,
    ended,
    submit,
    waiting,
)
from workers.jobs.claims import Claim
from workers.jobs.job import Job
from workers.jobs.redis.scripts import CLAIM
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, JobStore, Submission

T = TypeVar("T")


class LossyProxy:
    """Forwards everything except the reply to the first script: it closes the connection instead."""

    def __init__(self, target: RedisSettings) -> None:
        self._url = urlsplit(target.url or "")
        self.lost = 0

    async def run(self, act: Callable[[RedisSettings], Awaitable[T]]) -> T:
        """Call ``act`` with settings that lead through the proxy."""
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
        answers, requests = await asyncio.open_unix_connection(unquote(self._url.path))
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


def _submitting(submission: Submission) -> Callable[[RedisSettings], Awaitable[tuple[Job, bool]]]:
    async def act(settings: RedisSettings) -> tuple[Job, bool]:
        store = JobStore(settings, JOBS)
        try:
            return await store.submit(submission)
        finally:
            await store.close()

    return act


IDEMPOTENCY = Idempotency("key:x", "digest", 100, "always")
SUBMISSIONS = {
    "plain": Submission(a_request()),
    "keyed": Submission(a_request(), idempotency=IDEMPOTENCY),
    "retried": Submission(a_request(), idempotency=replace(IDEMPOTENCY, join="never")),
}


@pytest.mark.parametrize("kind", list(SUBMISSIONS))
def test_a_submission_whose_reply_is_lost_is_accepted_once(redis_settings: RedisSettings, kind: str) -> None:
    first = submit(redis_settings)  # loads the script, so that the next call is an EVALSHA
    proxy = LossyProxy(redis_settings)
    job, is_new = asyncio.run(proxy.run(_submitting(SUBMISSIONS[kind])))
    assert proxy.lost == 1
    assert (job.status, is_new) == (Status.QUEUED, True)
    assert waiting(redis_settings) == [first.id, job.id]


def test_a_submission_with_its_own_id_whose_reply_is_lost_is_accepted_once(redis_settings: RedisSettings) -> None:
    first = submit(redis_settings)
    proxy = LossyProxy(redis_settings)
    job, is_new = asyncio.run(proxy.run(_submitting(Submission(a_request(), name="mine"))))
    assert (proxy.lost, job.name, is_new) == (1, "mine", True)
    assert waiting(redis_settings) == [first.id, job.id]


async def _claim(settings: RedisSettings) -> Claim | None:
    return await asyncio.to_thread(claims_of(settings).claim_next, GRAPH)


def test_a_claim_whose_reply_is_lost_is_the_same_claim(settled_redis: RedisSettings) -> None:
    ended(settled_redis, submit(settled_redis))  # loads the script, so that the next call is an EVALSHA
    first, other = submit(settled_redis, b"image"), submit(settled_redis)
    proxy = LossyProxy(settled_redis)
    claim = asyncio.run(proxy.run(_claim))
    assert proxy.lost == 1
    assert claim is not None
    assert (claim.job.id, claim.job.attempts, claim.image) == (first.id, 1, b"image")
    assert waiting(settled_redis) == [other.id]
    assert claims_of(settled_redis).complete(claim, [b"image"], {})
    assert claimed(settled_redis, other).job.attempts == 1


def test_a_claim_whose_lease_ended_meanwhile_is_not_returned_again(settled_redis: RedisSettings) -> None:
    """The lease ended between the lost reply and the repeated call."""
    job = submit(settled_redis)
    claims = claims_of(settled_redis)
    limits = {"digest": "", "lease_ms": 6000, "max_attempts": 3}
    call = CLAIM.of(
        keys,
        GRAPH,
        JOBS,
        fairness_key=keys.fairness(GRAPH),
        claim_key=keys.claim("one"),
        messages_key=keys.messages(GRAPH),
        paused_key=keys.paused(GRAPH),
        worker="one",
        message="",
        counted=[],
        nonce="n",
        **limits,
    )
    first = claims._claim(**call)
    assert claims._claim(**call) == first
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(job.id)
    assert upkeep.reap() == [job.id]
    again = claims._claim(**call)
    assert (again[0], again[1]) == (job.id.encode(), b"one/2")
