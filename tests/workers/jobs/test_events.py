import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.waiting.waiter import JobWaiter
from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    JOBS,
    Upkeep,
    claimed,
    claims_of,
    client,
    ended,
    erase,
    follow,
    submit,
)
from workers.jobs.claims import Preview
from workers.jobs.events import JobEvent
from workers.jobs.job import Job
from workers.jobs.status import Status
from workers.jobs.store import JobStore

ALL = ["queued", "in_progress", "progress", "progress", "preview", "completed"]


def _drawn(settings: RedisSettings) -> Job:
    """Return a completed job with events of every kind."""
    job = submit(settings)
    claims, claim = claims_of(settings), claimed(settings, job)
    claims.progress(claim, 1, 2)
    claims.progress(claim, 2, 2, Preview(0, 0, b"\x00half"))
    assert claims.complete(claim, [b"x"], {})
    return job


async def _follow(settings: RedisSettings, job: Job, after: int, heartbeat_s: float = 60) -> list[JobEvent | None]:
    """Return all events that a follower gets up to the final one."""
    async with _waiter(settings) as waiter:
        return [event async for event in waiter.follow(job, after, heartbeat_s)]


@asynccontextmanager
async def _waiter(settings: RedisSettings) -> AsyncIterator[JobWaiter]:
    store = JobStore(settings, JOBS)
    waiter = JobWaiter(store, settings)
    await waiter.start()
    try:
        yield waiter
    finally:
        await waiter.stop()
        await store.close()


def _followed(settings: RedisSettings, job: Job, after: int = 0) -> list[JobEvent]:
    events = asyncio.run(asyncio.wait_for(_follow(settings, job, after), 10))
    return [event for event in events if event is not None]


def test_sequence_numbers_have_no_gaps(redis_settings: RedisSettings) -> None:
    events = follow(redis_settings, _drawn(redis_settings))
    assert [event.kind for event in events] == ALL
    assert [event.number for event in events] == list(range(1, len(ALL) + 1))
    assert [event.is_final for event in events] == [False] * 5 + [True]


def test_events_have_the_values_of_the_change(redis_settings: RedisSettings) -> None:
    submit(redis_settings, graph="other")
    queued, started, first, _, preview, completed = follow(redis_settings, _drawn(redis_settings))
    assert (queued.values, started.values, completed.values) == ({"queue_position": 0}, {"attempt": 1}, {})
    assert first.values == {"step": 1, "total_steps": 2}
    assert preview.values == {"image_index": 0, "partial_image_index": 0}
    assert preview.preview == b"\x00half"
    assert {event.preview for event in (queued, started, first, completed)} == {None}


def test_events_have_the_time_by_the_clock_of_redis(redis_settings: RedisSettings) -> None:
    with client(redis_settings) as raw:
        before, events, after = raw.time(), follow(redis_settings, _drawn(redis_settings)), raw.time()
    first, last = (seconds * 1000 + microseconds // 1000 for seconds, microseconds in (before, after))
    times = [event.at_ms or 0 for event in events]
    assert [first, *times, last] == sorted([first, *times, last])


def test_an_event_of_an_older_release_has_no_time(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    with client(redis_settings) as raw:
        raw.delete(keys.job_events(job.id))
        raw.xadd(keys.job_events(job.id), {"type": "queued", "queue_position": "0"}, id="1-0")
    assert follow(redis_settings, job) == [JobEvent(1, "queued", {"queue_position": 0}, at_ms=None)]


def test_the_events_of_a_requeued_job_continue(settled_redis: RedisSettings) -> None:
    first, job = submit(settled_redis), submit(settled_redis)
    ended(settled_redis, first)
    claimed(settled_redis, job)
    upkeep = Upkeep(settled_redis)
    upkeep.end_lease(job.id)
    upkeep.reap()
    ended(settled_redis, job, Status.FAILED)
    events = follow(settled_redis, job)
    assert [event.kind for event in events] == ["queued", "in_progress", "queued", "in_progress", "failed"]
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert (events[0].values, events[2].values) == ({"queue_position": 1}, {"queue_position": 0})


@pytest.mark.parametrize("seen", range(7))
def test_a_resumed_follower_gets_exactly_the_rest(redis_settings: RedisSettings, seen: int) -> None:
    job = _drawn(redis_settings)
    assert [event.kind for event in follow(redis_settings, job, seen)] == ALL[seen:]
    assert [event.kind for event in _followed(redis_settings, job, seen)] == ALL[seen:]


def test_a_follower_of_a_running_job_gets_every_event_once(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)

    async def both() -> list[JobEvent | None]:
        following = asyncio.create_task(_follow(redis_settings, job, 0))
        claims = claims_of(redis_settings)
        claim = await asyncio.to_thread(claimed, redis_settings, job)
        for step in range(1, 21):
            await asyncio.to_thread(claims.progress, claim, step, 20)
        await asyncio.to_thread(claims.complete, claim, [b"x"], {})
        return await asyncio.wait_for(following, 10)

    events = [event for event in asyncio.run(both()) if event is not None]
    assert [event.number for event in events] == list(range(1, 24))
    assert [event.values["step"] for event in events if event.kind == "progress"] == list(range(1, 21))


def test_erasing_a_job_ends_its_followers(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)

    async def both() -> list[JobEvent | None]:
        async with _waiter(redis_settings) as waiter:
            following = waiter.follow(job, 0, 0.05)
            seen = [await anext(following), await anext(following)]
            await asyncio.to_thread(erase, redis_settings, job)
            return [*seen, *[event async for event in following]]

    events = [event for event in asyncio.run(asyncio.wait_for(both(), 10)) if event is not None]
    assert [(event.number, event.kind) for event in events] == [(1, "queued"), (2, "cancelled")]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("seen", [0, 2])
def test_a_follower_gets_the_final_event_after_the_stream_expired(
    redis_settings: RedisSettings, status: Status, seen: int
) -> None:
    job = ended(redis_settings, submit(redis_settings), status)
    with client(redis_settings) as raw:
        raw.delete(keys.job_events(job.id))
    at_ms = round((job.completed_at or 0) * 1000)
    assert _followed(redis_settings, job, seen) == [JobEvent(3, status.value, {}, at_ms=at_ms)]
    assert _followed(redis_settings, job, 3) == []


def test_a_follower_without_events_gets_heartbeats(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)

    async def some() -> list[JobEvent | None]:
        async with _waiter(redis_settings) as waiter:
            following = waiter.follow(job, 0, 0.05)
            return [await asyncio.wait_for(anext(following), 5) for _ in range(4)]

    first, *rest = asyncio.run(some())
    assert first is not None
    assert rest == [None, None, None]
