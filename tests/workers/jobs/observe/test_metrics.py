"""What a worker measures of a job is counted once."""

import asyncio

import pytest

from config.settings import RedisSettings
from graphs.requests.request import AdapterSelection
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import GRAPH, a_request, claims_of, client, ended, on_metrics, put_in, submit
from tests.workers.jobs.test_lost_answers import LossyProxy
from tests.workers.process.runner_support import make_runner
from workers.engine.simulated import SimulatedEngine
from workers.jobs.job import JobError
from workers.jobs.observe.metrics import STAGE_BOUNDS_S, STAGES, histogram, observation, stages_measured
from workers.jobs.store import Submission


def test_each_value_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    counted = observation("x", (0.1, 1.0), [0.05, 0.1, 0.100001, 7.0])
    assert counted == {"x:le:0.1": 2, "x:le:1": 1, "x:le:inf": 1, "x:us": 7_250_001}
    found = histogram(counted, "x", (0.1, 1.0))
    assert found.buckets == [("0.1", 2), ("1", 3), ("+Inf", 4)]
    assert found.sum_s == pytest.approx(7.250001)


def test_a_histogram_without_values_is_empty() -> None:
    found = histogram({}, "x", (0.1,))
    assert (found.buckets, found.sum_s) == ([("0.1", 0), ("+Inf", 0)], 0.0)


def test_a_stage_of_zero_seconds_is_not_counted() -> None:
    counted = stages_measured({"text_encode": 0.02, "vae_encode": 0.0, "denoise": 0.3, "generate": 0.4}, [0.1, 0.2])
    assert {field.split(":")[0] for field in counted} == {"stage/text_encode", "stage/denoise_step", "generate"}
    assert counted["stage/denoise_step:us"] == 300_000


def test_a_job_is_measured_by_stage(redis_settings: RedisSettings) -> None:
    submit(redis_settings, num_images_per_prompt=2, num_inference_steps=3)
    runner = make_runner(claims_of(redis_settings), SimulatedEngine(0.001))
    assert [runner.run_next() for _ in range(2)] == [True, False]  # the next claim counts how long storing took
    counts = on_metrics(redis_settings, [GRAPH]).graphs[GRAPH].counts
    found = {stage: histogram(counts, f"stage/{stage}", STAGE_BOUNDS_S) for stage in STAGES}
    counted = {stage: of_stage.buckets[-1][1] for stage, of_stage in found.items()}
    assert counted == {
        "prepare": 1,
        "text_encode": 0,
        "vae_encode": 0,
        "denoise_step": 6,
        "vae_decode": 0,
        "encode": 1,
        "store": 1,
    }
    assert found["denoise_step"].sum_s >= 0.006
    assert (counts["images"], counts["pixels"]) == (2, 2 * 128 * 128)


def test_changes_of_adapters_are_counted(redis_settings: RedisSettings) -> None:
    runner = make_runner(claims_of(redis_settings), SimulatedEngine(0))
    first, second = ((AdapterSelection(alias=alias, alpha=1.0),) for alias in ("a", "b"))
    for adapters in ((), first, first, second, ()):
        put_in(redis_settings, Submission(a_request(adapters=adapters)))
        runner.run_next()
    assert on_metrics(redis_settings, [GRAPH]).graphs[GRAPH].counts["adapter_switches"] == 3


def test_an_end_whose_reply_is_lost_is_counted_once(redis_settings: RedisSettings) -> None:
    """redis-py repeats the command; the claim no longer holds at the second time."""
    submit(redis_settings)
    claim = claims_of(redis_settings).claim_next(GRAPH)
    assert claim is not None

    async def complete(settings: RedisSettings) -> None:
        await asyncio.to_thread(lambda: claims_of(settings).complete(claim, [b"image"], {"encode": 0.1}, {"x": 5}))

    asyncio.run(LossyProxy(redis_settings).run(complete))
    counts = on_metrics(redis_settings, [GRAPH]).graphs[GRAPH].counts
    assert (counts["completed"], counts["images"], counts["x"]) == (1, 1, 5)


def test_a_lost_claim_counts_nothing(redis_settings: RedisSettings) -> None:
    submit(redis_settings)
    claims = claims_of(redis_settings)
    claim = claims.claim_next(GRAPH)
    assert claim is not None
    assert claims.fail(claim, JobError("generation_failed", "It went wrong."))
    before = on_metrics(redis_settings, [GRAPH]).graphs[GRAPH].counts
    assert not claims.complete(claim, [b"image"], {}, {"x": 5})
    assert on_metrics(redis_settings, [GRAPH]).graphs[GRAPH].counts == before


def test_metrics_that_cannot_be_written_stop_no_transition(redis_settings: RedisSettings) -> None:
    """Jobs continue even if the keys of the metrics have another type."""
    with client(redis_settings) as raw:
        raw.set(keys.metrics(GRAPH), "not a hash")
        raw.set(keys.waiting(GRAPH), "not a sorted set")
    assert ended(redis_settings, submit(redis_settings)).status == "completed"
