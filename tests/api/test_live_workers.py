"""The live workers of a graph's model, as an API process sees them."""

from dataclasses import replace

from api.live_workers import LiveWorkers
from config.settings import RedisSettings
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, on_store
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.store import JobStore

OLD, NEW, OTHER = "1" * 16, "2" * 16, "3" * 16


def _beat(redis: RedisSettings, name: str, digest: str, error: str | None = None) -> None:
    presence = WorkerPresence(name, GRAPH, "CPU", ready=not error, operations=(), seen_at=0.0, digest=digest)
    Upkeep(redis, digest=digest).heartbeat(replace(presence, error=error))


def test_workers_of_other_models_are_named_by_their_digests(redis_settings: RedisSettings) -> None:
    async def seen(store: JobStore) -> None:
        _beat(redis_settings, "one", NEW)
        _beat(redis_settings, "of another service", OTHER)
        workers = LiveWorkers(store, lambda _: NEW)
        assert await workers.loading() == ({GRAPH}, {})
        assert await workers.other_digests() == {GRAPH: [OTHER]}

    on_store(redis_settings, seen)


def test_a_worker_of_another_model_is_neither_ready_nor_failed_for_this_one(redis_settings: RedisSettings) -> None:
    async def seen(store: JobStore) -> None:
        workers = LiveWorkers(store, lambda _: OLD)
        _beat(redis_settings, "one", OTHER)
        _beat(redis_settings, "two", NEW, "It cannot be read.")
        assert (await workers.ready(GRAPH), await workers.loading()) == ([], (set(), {}))

    on_store(redis_settings, seen)


def test_an_api_without_the_weights_knows_several_digests_only_of_its_workers(redis_settings: RedisSettings) -> None:
    async def seen(store: JobStore) -> None:
        _beat(redis_settings, "one", OLD)
        assert await LiveWorkers(store, lambda _: "").other_digests() == {}
        _beat(redis_settings, "two", NEW)
        workers = LiveWorkers(store, lambda _: "")
        assert await workers.other_digests() == {GRAPH: [OLD, NEW]}
        assert len(await workers.ready(GRAPH)) == 2

    on_store(redis_settings, seen)
