"""The stream of an owner's events: it exists only while the owner is followed, and its size is bounded."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.waiting.owner_feed import READS_APART_S, OwnerFeed, Passage
from api.waiting.waiter import JobWaiter, WaitingEnded
from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    JOBS,
    a_submission,
    claims_of,
    client,
    ended,
    erase,
    owner_events,
    put_in,
)
from workers.jobs.claims import Claim, Preview
from workers.jobs.events import OwnerEvent
from workers.jobs.redis.script import OWNER_EVENTS_KEPT
from workers.jobs.store import JobStore

ONE, TWO = "one", "two"
# More than are kept: a stream is cut by whole nodes of up to 100 entries.
TOO_MANY = OWNER_EVENTS_KEPT + 200


def _claimed(settings: RedisSettings, owner: str, name: str = "") -> Claim:
    put_in(settings, a_submission(owner, name=name))
    claim = claims_of(settings).claim_next("demo")
    assert claim is not None
    return claim


def _kinds(events: tuple[OwnerEvent, ...] | list[OwnerEvent]) -> list[tuple[str, int, str]]:
    return [(found.job_name, found.event.number, found.event.kind) for found in events]


def test_an_owner_who_is_not_followed_has_no_stream(redis_settings: RedisSettings) -> None:
    ended(redis_settings, put_in(redis_settings, a_submission(ONE))[0])
    with client(redis_settings) as raw:
        assert raw.exists(keys.owner_events(ONE)) == 0


def test_events_are_those_of_the_owners_jobs(redis_settings: RedisSettings) -> None:
    begin = {owner: owner_events(redis_settings, owner).last for owner in (ONE, TWO)}
    claims, claim = claims_of(redis_settings), _claimed(redis_settings, ONE, "mine")
    claims.progress(claim, 1, 2, Preview(0, 0, b"half"))
    assert claims.complete(claim, [b"x"], {})
    other = put_in(redis_settings, a_submission(TWO))[0]
    erase(redis_settings, other)
    found = owner_events(redis_settings, ONE, begin[ONE])
    kinds = ["queued", "in_progress", "progress", "preview", "completed"]
    assert _kinds(found.events) == [("mine", number, kind) for number, kind in enumerate(kinds, 1)]
    assert found.events[2].event.values == {"step": 1, "total_steps": 2}
    assert {entry.event.preview for entry in found.events} == {None}
    times = [entry.event.at_ms or 0 for entry in found.events]
    assert times[0] > 0
    assert times == sorted(times)
    of_other = owner_events(redis_settings, TWO, begin[TWO]).events
    assert _kinds(of_other) == [(other.id, 1, "queued"), (other.id, 2, "cancelled")]


def test_a_stream_goes_on_after_each_of_its_entries(redis_settings: RedisSettings) -> None:
    begin = owner_events(redis_settings, ONE).last
    for _ in range(3):
        ended(redis_settings, put_in(redis_settings, a_submission(ONE))[0])
    everything = owner_events(redis_settings, ONE, begin).events
    assert len(everything) == 9
    for place, entry in enumerate(everything):
        rest = owner_events(redis_settings, ONE, entry.entry_id)
        assert rest.events == everything[place + 1 :]
        assert not rest.has_gap


@pytest.mark.parametrize("heard", ["0-0", "1-0", "99999999999999-0"])
def test_what_was_never_in_the_stream_is_missed(redis_settings: RedisSettings, heard: str) -> None:
    assert owner_events(redis_settings, ONE, heard).has_gap


def test_a_stream_that_expired_is_missed(redis_settings: RedisSettings) -> None:
    heard = owner_events(redis_settings, ONE).last
    with client(redis_settings) as raw:
        raw.delete(keys.owner_events(ONE))
    assert owner_events(redis_settings, ONE, heard).has_gap


@pytest.mark.parametrize("left_s", [1, 1801, 3599])
def test_a_stream_is_kept_for_an_hour_at_least(redis_settings: RedisSettings, left_s: int) -> None:
    heard = owner_events(redis_settings, ONE).last
    with client(redis_settings) as raw:
        assert 3600 < raw.ttl(keys.owner_events(ONE)) <= 7200
        raw.expire(keys.owner_events(ONE), left_s)
        owner_events(redis_settings, ONE, heard)
        assert 3600 < raw.ttl(keys.owner_events(ONE)) <= 7200


def test_a_stream_is_bounded(redis_settings: RedisSettings) -> None:
    owner_events(redis_settings, ONE)
    claims, claim = claims_of(redis_settings), _claimed(redis_settings, ONE, "n" * 64)
    for step in range(TOO_MANY):
        claims.progress(claim, step, TOO_MANY)
    with client(redis_settings) as raw:
        assert OWNER_EVENTS_KEPT <= raw.xlen(keys.owner_events(ONE)) < TOO_MANY
        assert raw.memory_usage(keys.owner_events(ONE), samples=0) < 400 * 2**10


@asynccontextmanager
async def _feed(settings: RedisSettings) -> AsyncIterator[tuple[OwnerFeed, JobWaiter]]:
    store = JobStore(settings, JOBS)
    waiter = JobWaiter(store, settings)
    feed = OwnerFeed(waiter, settings)
    await waiter.start()
    try:
        yield feed, waiter
    finally:
        await feed.close()
        await waiter.stop()
        await store.close()


def test_a_client_that_lags_reads_the_rest_later_and_hears_of_a_gap(redis_settings: RedisSettings) -> None:
    """A follower asks for the next events only when its client has taken the last ones."""

    async def lag() -> list[Passage]:
        async with _feed(redis_settings) as (feed, _):
            following = feed.follow(ONE, "", 60, None)
            start = await anext(following)
            claims = claims_of(redis_settings)
            claim = await asyncio.to_thread(_claimed, redis_settings, ONE)
            for step in range(250):
                await asyncio.to_thread(claims.progress, claim, step, TOO_MANY)
            seen = [start, await anext(following), await anext(following)]
            for step in range(TOO_MANY):
                await asyncio.to_thread(claims.progress, claim, step, TOO_MANY)
            seen.append(await anext(following))
            await asyncio.to_thread(claims.complete, claim, [b"x"], {})
            return [*seen, await anext(following)]

    start, first, second, gap, rest = asyncio.run(asyncio.wait_for(lag(), 60))
    assert (start.begins, start.events) == ("start", ())
    numbers = [found.event.number for passage in (first, second) for found in passage.events]
    assert numbers == list(range(1, 253))
    assert (gap.begins, gap.events) == ("gap", ())
    assert [found.event.kind for found in rest.events] == ["completed"]


def test_a_follower_is_woken_by_its_owners_jobs_only(redis_settings: RedisSettings) -> None:
    async def both() -> list[Passage]:
        async with _feed(redis_settings) as (feed, waiter):
            following = feed.follow(ONE, "", 60, None)
            await anext(following)
            async with waiter.changes_of(TWO) as of_two:
                next_one = asyncio.ensure_future(anext(following))
                await asyncio.to_thread(put_in, redis_settings, a_submission(ONE))
                # Far less than the time after which a follower reads without being woken.
                passage = await asyncio.wait_for(next_one, 3)
                assert not of_two.is_set()
            return [passage]

    (passage,) = asyncio.run(both())
    assert [found.event.kind for found in passage.events] == ["queued"]


def test_events_that_come_fast_arrive_together(redis_settings: RedisSettings) -> None:
    """A follower that reads again and again needs far more calls than one that waits between two of them."""

    async def burst() -> tuple[list[Passage], float]:
        async with _feed(redis_settings) as (feed, _):
            following = feed.follow(ONE, "", 60, None)
            passages = [await anext(following)]
            claims, claim = claims_of(redis_settings), await asyncio.to_thread(_claimed, redis_settings, ONE)

            def draw() -> None:
                for step in range(1000):
                    claims.progress(claim, step, 1000)
                claims.complete(claim, [b"x"], {})

            began = time.monotonic()
            drawing = asyncio.ensure_future(asyncio.to_thread(draw))
            while not passages[-1].events or passages[-1].events[-1].event.kind != "completed":
                passages.append(await anext(following))
            await drawing
            return passages[1:], time.monotonic() - began

    passages, elapsed_s = asyncio.run(asyncio.wait_for(burst(), 60))
    numbers = [found.event.number for passage in passages for found in passage.events]
    assert numbers == list(range(1, 1004))
    # Those that were read at once, because more than one answer has were there, are full.
    full = sum(len(passage.events) == 200 for passage in passages)
    assert len(passages) - full <= 2 + elapsed_s / READS_APART_S


def test_a_follower_ends_with_its_process(redis_settings: RedisSettings) -> None:
    async def end() -> None:
        async with _feed(redis_settings) as (feed, waiter):
            following = feed.follow(ONE, "", 60, None)
            await anext(following)
            waiter.end_waiting()
            await asyncio.wait_for(anext(following), 10)

    with pytest.raises(WaitingEnded):
        asyncio.run(end())


def test_without_redis_a_follower_gets_heartbeats() -> None:
    async def beats() -> list[Passage]:
        async with _feed(RedisSettings(url="redis://127.0.0.1:1/0")) as (feed, _):
            following = feed.follow(ONE, "5-0", 0.05, None)
            return [await asyncio.wait_for(anext(following), 10) for _ in range(2)]

    assert asyncio.run(beats()) == [Passage("5-0"), Passage("5-0")]
