"""The memory of Redis is bounded by the queue's bounds and by the times to live of everything else."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from config.settings import JobSettings, RedisSettings, Settings
from graphs.errors import QueueFull
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.support.redis_server import RunningRedis, running_redis
from tests.workers.jobs.jobs_support import (
    GRAPH,
    Upkeep,
    a_request,
    cancel,
    claims_of,
    client,
    erase,
    look,
    on_store,
    owner_events,
    put_in,
    submit,
)
from tests.workers.webhooks.webhook_support import job_with_webhook
from workers.jobs.broker import make_celery, wake_worker
from workers.jobs.claims import Preview
from workers.jobs.job import JobError
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.queue_bounds import ended_memory_bytes, queue_memory_bytes
from workers.jobs.request_rates import RequestRates
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, Submission

# The keys without a time to live: one of each kind, or one for each graph; all of a bounded size.
LASTING = re.compile(
    r"imagegen:(layout|sequence|signing-key|events|steps|workers|workers-seen|workers-changed|deliveries|held-deliveries|delivery-sizes)"
    r"|imagegen:(kept|kept-ended|ended-sizes|record-ends|result-ends)"
    r"|imagegen:(fairness|times|queued|queued-by-digest|digests|running|work|running-work|backlog|waiting|metrics|crashes):demo"
    r"|imagegen\.demo|imagegen\._kombu\.binding.*"
)
_SMALL = JobSettings(max_queued=200, max_queued_bytes=4 * 2**20, result_ttl_s=100, record_ttl_s=100)


@pytest.fixture(scope="module")
def own_server(redis_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("memory")) as running:
        yield running


@pytest.fixture
def own(own_server: RunningRedis) -> RedisSettings:
    """An emptied server that has loaded all scripts, so that only jobs change its memory."""
    with own_server.client() as raw:
        raw.flushall()
    job = submit(own_server.settings)
    claims = claims_of(own_server.settings)
    claim = claims.claim_next(GRAPH)
    assert claim
    claims.progress(claim, 1, 4)
    claims.complete(claim, [b"image"], {})
    erase(own_server.settings, job)
    return own_server.settings


def _used(settings: RedisSettings) -> int:
    with client(settings) as raw:
        return int(raw.info("memory")["used_memory_dataset"])


def _fill_queue(settings: RedisSettings, image_bytes: int) -> int:
    """Submit until the queue is full; return the number of jobs."""
    request, count = a_request(prompt="p" * 1000), 0
    with pytest.raises(QueueFull):
        while True:
            put_in(settings, Submission(request, image=b"i" * image_bytes), _SMALL)
            count += 1
    return count


@pytest.mark.parametrize(("image_bytes", "jobs"), [(0, 200), (15_000, 200), (100_000, 41), (4_000_000, 1)])
def test_a_full_queue_stays_below_its_bound(own: RedisSettings, image_bytes: int, jobs: int) -> None:
    before = _used(own)
    assert _fill_queue(own, image_bytes) == jobs
    celery = make_celery(Settings(redis=own))
    for _ in range(jobs):
        wake_worker(celery, GRAPH)
    grown = _used(own) - before
    assert jobs * image_bytes < grown < queue_memory_bytes(_SMALL, graphs=1, workers=0)


def test_ended_jobs_stay_below_their_bound(own: RedisSettings) -> None:
    artifact, jobs, steps = b"p" * 50_000, 30, 100
    before, claims = _used(own), claims_of(own, jobs=_SMALL)
    for _ in range(jobs):
        job, _ = put_in(own, Submission(a_request(num_inference_steps=steps)), _SMALL)
        claim = claims.claim_next(GRAPH)
        assert claim
        for step in range(1, steps + 1):
            claims.progress(claim, step, steps, Preview(0, 0, artifact) if step == steps else None)
        claims.complete(claim, [artifact], {"generate": 1.0})
        assert look(own, job).status is Status.COMPLETED
    grown = _used(own) - before
    bound = ended_memory_bytes(
        _SMALL, jobs_per_s=jobs / _SMALL.result_ttl_s, steps=steps, artifact_bytes=2 * len(artifact), request_bytes=500
    )
    assert jobs * 2 * len(artifact) < grown < bound


def test_memory_is_freed_after_the_times_to_live(own: RedisSettings) -> None:
    before, soon = _used(own), JobSettings(result_ttl_s=1, record_ttl_s=1)
    claims = claims_of(own, jobs=soon)
    for _ in range(20):
        put_in(own, Submission(a_request()), soon)
        claim = claims.claim_next(GRAPH)
        assert claim
        claims.complete(claim, [b"p" * 100_000], {})
    assert _used(own) - before > 20 * 100_000
    wait_until(lambda: _used(own) - before < 200_000)


def test_every_key_has_a_time_to_live_or_is_a_known_one(own: RedisSettings) -> None:
    """There are jobs of every kind and end, webhooks, idempotency keys, rates, heartbeats and messages."""
    claims, upkeep, celery = claims_of(own), Upkeep(own), make_celery(Settings(redis=own))
    for number in range(40):
        idempotency = Idempotency(f"key:{number}", "digest", 100, "always")
        job, _ = put_in(own, Submission(a_request(), image=b"image", mask=b"mask", idempotency=idempotency))
        if number % 8 == 0:
            cancel(own, job)
            continue
        if number % 8 == 1:
            erase(own, job)
            continue
        claim = claims.claim_next(GRAPH)
        assert claim
        claims.progress(claim, 1, 4, Preview(0, 0, b"preview"))
        if number % 8 == 2:
            claims.fail(claim, JobError("x", "y"))
        elif number % 8 == 3:
            cancel(own, job)
            claims.cancelled(claim)
        elif number % 8 == 4:
            upkeep.end_lease(job.id)
            cancel(own, job)
        else:
            claims.complete(claim, [b"image"] * 3, {})
        wake_worker(celery, GRAPH)
    cancel(own, job_with_webhook(own, "http://127.0.0.1:1/"))
    upkeep.heartbeat(WorkerPresence("w", GRAPH, "CPU", ready=True, operations=(), seen_at=0.0))
    owner_events(own, "anyone")
    on_store(own, lambda store: store.signing_key())
    on_store(own, lambda store: store.check_layout())
    asyncio.run(_count_requests(own))
    with client(own) as raw:
        lasting = sorted(str(key) for key in raw.scan_iter() if raw.ttl(key) == -1)
        assert [key for key in lasting if not LASTING.fullmatch(key)] == []
        assert keys.times(GRAPH) in lasting
        assert [raw.exists(key(GRAPH)) for key in (keys.queued, keys.running, keys.backlog)] == [0, 0, 0]


async def _count_requests(settings: RedisSettings) -> None:
    rates = RequestRates(settings)
    for owner in "ab":
        await rates.count(owner, 10)
    await rates.close()
