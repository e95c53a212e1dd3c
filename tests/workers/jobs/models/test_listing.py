"""What API processes say of their models, and what becomes of the jobs of a graph that none lists any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from config.settings import JobSettings, RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, JOBS, client, look, submit
from workers.jobs.claims import Claims
from workers.jobs.models.fleet_view import FleetView
from workers.jobs.models.listing import ModelListing
from workers.jobs.status import Status

T = TypeVar("T")
DIGEST = "1" * 16
GRACE = JobSettings(removed_grace_s=60.0)


def _on_listing(redis: RedisSettings, act: Callable[[ModelListing], Awaitable[T]]) -> T:
    async def with_listing() -> T:
        listing = ModelListing(redis, GRACE)
        try:
            return await act(listing)
        finally:
            await listing.close()

    return asyncio.run(with_listing())


def _removed_earlier(redis: RedisSettings, seconds: float) -> None:
    with client(redis) as raw:
        at_ms = float(raw.hget(keys.removed_graphs, GRAPH) or 0)
        raw.hset(keys.removed_graphs, GRAPH, at_ms - seconds * 1000)


def test_a_graph_is_removed_until_any_process_lists_it_again(redis_settings: RedisSettings) -> None:
    listed = _on_listing(redis_settings, lambda one: one.say({GRAPH: DIGEST}, []))
    assert (listed.reloads, listed.removed_for_s) == (0, {})
    assert _on_listing(redis_settings, lambda one: one.ask_for_reload()) == 1
    _on_listing(redis_settings, lambda one: one.say({}, [GRAPH]))
    _removed_earlier(redis_settings, 20)
    again = _on_listing(redis_settings, lambda one: one.say({"other": DIGEST}, [GRAPH]))
    assert again.reloads == 1 and 20 <= again.removed_for_s[GRAPH] < 40
    assert _on_listing(redis_settings, lambda other: other.say({GRAPH: DIGEST}, [])).removed_for_s == {}


def test_the_jobs_of_a_removed_graph_wait_and_then_fail_with_a_sentence(redis_settings: RedisSettings) -> None:
    running, first, second = (submit(redis_settings) for _ in range(3))
    claim = Claims(redis_settings, JOBS, "worker").claim_next(GRAPH)
    assert claim is not None and claim.job.id == running.id
    _on_listing(redis_settings, lambda one: one.say({}, [GRAPH]))
    assert _on_listing(redis_settings, lambda one: one.end_removed(GRAPH)) == 0
    assert look(redis_settings, first).status is Status.QUEUED
    _removed_earlier(redis_settings, 61)
    assert _on_listing(redis_settings, lambda one: one.end_removed(GRAPH)) == 2
    for job in (first, second):
        error = look(redis_settings, job).error
        assert error is not None and error.code == "model_removed"
        assert "60 s of IMAGEGEN_JOBS__REMOVED_GRACE_S" in error.message
    assert look(redis_settings, running).status is Status.IN_PROGRESS
    Claims(redis_settings, JOBS, "worker").complete(claim, [b"image"], {})
    assert look(redis_settings, running).status is Status.COMPLETED
    assert _on_listing(redis_settings, lambda one: one.end_removed(GRAPH)) == 0
    assert _on_listing(redis_settings, lambda one: one.say({}, [])).removed_for_s == {}, "nothing is left to end"


def test_a_graph_that_is_listed_keeps_its_jobs(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    _on_listing(redis_settings, lambda one: one.say({GRAPH: DIGEST}, []))
    assert _on_listing(redis_settings, lambda one: one.end_removed(GRAPH)) == 0
    assert look(redis_settings, job).status is Status.QUEUED


def test_the_fleet_is_seen_in_one_look(redis_settings: RedisSettings) -> None:
    _on_listing(redis_settings, lambda one: one.say({GRAPH: DIGEST}, []))
    with client(redis_settings) as raw:
        raw.zadd(keys.by_digest(GRAPH), {f"{DIGEST} {1:030.9f} imgjob_1": 0})
    fleet = FleetView(redis_settings).read({(GRAPH, DIGEST), (GRAPH, "2" * 16)}, with_workers=True)
    assert fleet.waiting == {(GRAPH, DIGEST): 1, (GRAPH, "2" * 16): 0}
    assert list(fleet.listed_ago_s) == [(GRAPH, DIGEST)] and fleet.listed_ago_s[GRAPH, DIGEST] < 30
    assert (fleet.workers, fleet.reloads) == ((), 0)
    assert FleetView(redis_settings).read([], with_workers=False).workers is None
