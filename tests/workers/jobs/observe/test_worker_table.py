"""What an API process reads of the workers: all of them at first, then what changed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import redis

from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, JOBS, Upkeep, client, on_control
from workers.jobs.control.queue_control import QueueControl
from workers.jobs.job import new_job_id
from workers.jobs.observe.presence import ALIVE_S, WorkerActivity, WorkerPresence, live_workers, presence_of
from workers.jobs.store import JobStore

_PRESENCE = WorkerPresence("w", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0, stage="idle")


def _reading(
    settings: RedisSettings, act: Callable[[Callable[[], Awaitable[dict[str, str]]]], Awaitable[None]]
) -> None:
    """Call ``act`` with what reads the stages of the live workers by name, as one process does again and again."""

    async def reading() -> None:
        store = JobStore(settings, JOBS)

        async def read() -> dict[str, str]:
            return {worker.name: worker.stage for worker in await store.workers()}

        try:
            await act(read)
        finally:
            await store.close()

    asyncio.run(reading())


def test_what_changes_is_read_and_what_leaves_is_forgotten(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)

    async def follow(read: Callable[[], Awaitable[dict[str, str]]]) -> None:
        assert await read() == {}
        for name in "ab":
            upkeep.heartbeat(replace(_PRESENCE, name=name))
        assert await read() == {"a": "idle", "b": "idle"}
        upkeep.heartbeat(replace(_PRESENCE, name="b", stage="drawing"))
        upkeep.heartbeat(replace(_PRESENCE, name="c"))
        assert await read() == {"a": "idle", "b": "drawing", "c": "idle"}
        upkeep.leave("a")
        assert await read() == {"b": "drawing", "c": "idle"}

    _reading(redis_settings, follow)


def test_a_silent_worker_is_left_out_until_it_is_heard_again(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)

    async def follow(read: Callable[[], Awaitable[dict[str, str]]]) -> None:
        upkeep.heartbeat(_PRESENCE)
        assert await read() == {"w": "idle"}
        with client(redis_settings) as raw:
            raw.zincrby(keys.workers_seen, -(ALIVE_S + 1) * 1000, "w")
        assert await read() == {}
        upkeep.heartbeat(_PRESENCE)
        assert await read() == {"w": "idle"}

    _reading(redis_settings, follow)


def test_a_redis_that_lost_its_data_is_read_as_a_whole(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)

    async def follow(read: Callable[[], Awaitable[dict[str, str]]]) -> None:
        upkeep.heartbeat(_PRESENCE)
        assert await read() == {"w": "idle"}
        with client(redis_settings) as raw:
            raw.flushall()
        assert await read() == {}

    _reading(redis_settings, follow)


def test_what_a_worker_does_just_now_is_no_change_for_those_who_know_the_rest(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)
    drawing = replace(_PRESENCE, stage="drawing", last_error='It says "activity": {"a": 1}.')
    with client(redis_settings) as raw:
        for presence, changes in (
            (drawing, 1),
            (replace(drawing, activity=WorkerActivity("imgjob_1", 7.5, {"denoise": 1.25})), 0),
            (replace(drawing, activity=WorkerActivity("imgjob_2", 8.0)), 0),
            (replace(drawing, last_error='It says "activity": {"a": 2}.'), 1),
            (replace(drawing, stage="storing", activity=WorkerActivity("imgjob_2", 9.0)), 1),
        ):
            raw.delete(keys.workers_changed)
            upkeep.heartbeat(presence)
            assert raw.zcard(keys.workers_changed) == changes, presence
            (found,) = live_workers({b"w": _stored(raw)}, raw.time()[0])
            assert (found.stage, found.last_error) == (presence.stage, presence.last_error)
            assert found.activity == presence.activity


def test_administrators_see_the_next_job_of_a_worker_whose_stage_stays(redis_settings: RedisSettings) -> None:
    upkeep, drawing = Upkeep(redis_settings), replace(_PRESENCE, stage="drawing")

    async def look_twice(control: QueueControl) -> list[WorkerPresence]:
        found = []
        for activity in (WorkerActivity("imgjob_1", 7.5), WorkerActivity("imgjob_2", 8.5, {"denoise": 1.25})):
            await asyncio.to_thread(upkeep.heartbeat, replace(drawing, activity=activity))
            found += await control.workers()
        return found

    first, second = on_control(redis_settings, look_twice)
    assert (first.activity.job_id, first.activity.since) == ("imgjob_1", 7.5)
    assert second.activity == WorkerActivity("imgjob_2", 8.5, {"denoise": 1.25})
    assert second.seen_at > first.seen_at
    with client(redis_settings) as raw:
        silent = {**json.loads(_stored(raw)), "seen_at": raw.time()[0] - ALIVE_S - 1}
        raw.hset(keys.workers, "w", json.dumps(silent))
    assert on_control(redis_settings, lambda control: control.workers()) == []


def test_the_heartbeat_of_another_release_is_read(redis_settings: RedisSettings) -> None:
    Upkeep(redis_settings).heartbeat(_PRESENCE)
    with client(redis_settings) as raw:
        beat = json.loads(_stored(raw))
    former = {name: value for name, value in beat.items() if name not in ("activity", "digest")}
    assert presence_of(json.dumps(former).encode()).activity == WorkerActivity()
    newer = {**beat, "more": 1, "activity": {"job_id": "imgjob_1", "more": 1}}
    assert presence_of(json.dumps(newer).encode()).activity == WorkerActivity("imgjob_1")


def test_a_heartbeat_stays_small() -> None:
    stages = ("prepare", "text_encode", "vae_encode", "denoise", "vae_decode", "generate", "encode")
    activity = WorkerActivity(new_job_id(), 1_795_312_800.123, {stage: 123.456 for stage in stages})
    assert len(activity_json := replace(_PRESENCE, activity=activity).to_json()) < 1000, activity_json


def _stored(raw: "redis.Redis") -> bytes:
    found = raw.hget(keys.workers, "w")
    return str(found).encode()


def test_workers_whose_state_stays_the_same_are_not_read_again(redis_settings: RedisSettings) -> None:
    upkeep = Upkeep(redis_settings)
    for number in range(400):
        upkeep.heartbeat(replace(_PRESENCE, name=f"w{number}"))

    async def follow(read: Callable[[], Awaitable[dict[str, str]]]) -> None:
        assert len(await read()) == 400
        with client(redis_settings) as raw:
            while (await read()) and raw.zcount(keys.workers_changed, raw.time()[0] * 1000 - 1000, "+inf"):
                await asyncio.sleep(0.2)
            for number in range(400):
                upkeep.heartbeat(replace(_PRESENCE, name=f"w{number}"))
            before = raw.info("stats")["total_net_output_bytes"]
            base = raw.info("stats")["total_net_output_bytes"]
            assert len(await read()) == 400
            sent = raw.info("stats")["total_net_output_bytes"] - base - (base - before)
        assert sent < 500

    _reading(redis_settings, follow)
