"""The checks of the workers, as a real Redis knows them."""

import json

from cli.checks.finding import Verdict
from cli.checks.workers_check import check_queues, check_workers
from config.settings import JobSettings, RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, Upkeep, claims_of, client, submit
from workers.jobs.observe.diagnostics import read_diagnostics
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis.layout import check_layout_at_start


def of_workers(redis: RedisSettings, digest: str = "") -> list[tuple[str, Verdict, str]]:
    diagnostics = read_diagnostics(redis, [GRAPH])
    return [(f.area, f.verdict, f"{f.message} {f.remedy}") for f in check_workers(diagnostics, {GRAPH: digest})]


def beat(redis: RedisSettings, name: str = "w", graph: str = GRAPH, ready: bool = True, digest: str = "") -> None:
    presence = WorkerPresence(name, graph, "CPU", ready=ready, operations=(), seen_at=0.0, digest=digest)
    Upkeep(redis).heartbeat(presence)


def test_workers_missing_loading_ready(redis_settings: RedisSettings) -> None:
    submit(redis_settings)
    ((_, verdict, text),) = of_workers(redis_settings)
    assert (verdict, "no worker runs. 1 jobs wait." in text) == (Verdict.WRONG, True), text
    assert f"imagegen worker --graph {GRAPH}" in text
    beat(redis_settings, ready=False)
    ((_, verdict, text),) = of_workers(redis_settings)
    assert (verdict, "none has loaded its model" in text) == (Verdict.WRONG, True), text
    beat(redis_settings)
    beat(redis_settings, "other", "elsewhere")
    (_, ready, text), (_, other, of_other) = of_workers(redis_settings)
    assert (ready, "ready: 1 on CPU" in text) == (Verdict.OK, True), text
    assert (other, "elsewhere" in of_other) == (Verdict.NOTE, True)


def test_different_models_under_one_name(redis_settings: RedisSettings) -> None:
    beat(redis_settings, "one", digest="11")
    (_, verdict, of_own), (_, other, _) = of_workers(redis_settings, "22")
    assert (verdict, other, "no worker has the model that is here" in of_own) == (Verdict.WRONG, Verdict.WRONG, True)
    beat(redis_settings, "of an older release")
    assert [verdict for _, verdict, _ in of_workers(redis_settings, "11")] == [Verdict.OK]
    assert [verdict for _, verdict, _ in of_workers(redis_settings)] == [Verdict.OK]
    (_, ready, of_own), (_, verdict, text) = of_workers(redis_settings, "22")
    assert (ready, "ready: 1 on CPU" in of_own) == (Verdict.OK, True), of_own
    assert (verdict, "Digests: 11 of one, and 22 here." in text) == (Verdict.WRONG, True), text
    beat(redis_settings, "two", digest="33")
    _, (_, verdict, text) = of_workers(redis_settings)
    assert (verdict, "Digests: 11 of one, 33 of two." in text) == (Verdict.WRONG, True), text


def test_another_prefix_than_that_of_the_service(redis_settings: RedisSettings) -> None:
    check_layout_at_start(redis_settings)
    beat(redis_settings)
    mistaken = redis_settings.model_copy(update={"prefix": "other"})
    with client(redis_settings) as behind:
        behind.set("of:another-program:layout", 1)
    (_, verdict, text), (_, note, of_prefixes) = of_workers(mistaken)
    assert (verdict, "no worker runs" in text) == (Verdict.WRONG, True), text
    assert (note, "with the prefixes imagegen. Give doctor the --redis_prefix" in of_prefixes) == (Verdict.NOTE, True)


def test_a_queue_that_fills(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_queued=5)

    def of_queues() -> list[tuple[Verdict, str]]:
        return [(f.verdict, f.message) for f in check_queues(read_diagnostics(redis_settings, [GRAPH]), jobs)]

    assert of_queues() == []
    for _ in range(3):
        submit(redis_settings)
    ((verdict, text),) = of_queues()
    assert (verdict, "demo: 3 of at most 5 jobs wait, with 0.0 of 512 MiB (60% full)." in text) == (Verdict.OK, True), (
        text
    )
    submit(redis_settings)
    ((verdict, text),) = of_queues()
    assert (verdict, "4 of at most 5 jobs wait" in text) == (Verdict.NOTE, True), text
    found = read_diagnostics(redis_settings, [GRAPH])
    nearly_all = JobSettings(max_queued_bytes=found.graphs[GRAPH].queued_bytes * 5 // 4)
    ((verdict, text),) = [(f.verdict, f.message) for f in check_queues(found, nearly_all)]
    assert verdict is Verdict.NOTE and "4 of at most 1000 jobs" in text


def test_workers_that_die_again_and_again(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    for number, expected in enumerate((Verdict.NOTE, Verdict.NOTE, Verdict.WRONG), 1):
        job = submit(redis_settings)
        claims_of(redis_settings).claim_next(GRAPH)
        Upkeep(redis_settings).end_lease(job.id)
        Upkeep(redis_settings).count_crash()
        _, (_, verdict, text) = of_workers(redis_settings)
        assert verdict is expected
        assert f"died {number} times" in text


def test_a_worker_whose_device_rests(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    sentence = "2 fresh processes in a row failed on this device, so this worker is not ready."
    resting = WorkerPresence(
        "sick", GRAPH, "GPU.0", ready=False, operations=(), seen_at=0.0, stage="resting", last_error=sentence
    )
    Upkeep(redis_settings).heartbeat(resting)
    (_, ready, _), (_, verdict, text) = of_workers(redis_settings)
    assert (ready, verdict) == (Verdict.OK, Verdict.WRONG)
    assert f"the worker on GPU.0 rests. {sentence} Do what it says" in text


def test_a_worker_whose_clock_is_wrong(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    with client(redis_settings) as behind:
        value = json.loads(str(behind.hget(keys.workers, "w")))
        assert abs(value["clock"] - value["seen_at"]) < 2
        late = {**value, "clock": value["seen_at"] - 61.0, "of_a_later_version": 1}
        behind.hset(keys.workers, "w", json.dumps(late))
    _, (area, verdict, text) = of_workers(redis_settings)
    assert (area, verdict) == ("clock", Verdict.WRONG)
    assert "-61.0 s" in text


def test_webhooks_that_no_process_delivers(redis_settings: RedisSettings) -> None:
    beat(redis_settings)
    with client(redis_settings) as behind:
        behind.zadd(keys.deliveries, {"evt_1": 1000})
    _, (area, verdict, text) = of_workers(redis_settings)
    assert (area, verdict) == ("webhooks", Verdict.WRONG)
    assert "imagegen worker --webhooks" in text
