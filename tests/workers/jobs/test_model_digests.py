"""Two models under one name on one Redis: each job is drawn by a worker of its own model, or fails with a sentence."""

from dataclasses import replace
from typing import Literal

import pytest

from config.settings import JobSettings, RedisSettings
from graphs.errors import IdempotencyConflict
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    JOBS,
    SHORT,
    Upkeep,
    a_submission,
    cancel,
    client,
    erase,
    look,
    put_in,
    waiting,
)
from workers.jobs.claims import Claims
from workers.jobs.job import Job
from workers.jobs.observe.presence import WorkerPresence
from workers.jobs.redis.keys import queue_name
from workers.jobs.status import Status
from workers.jobs.store import Idempotency

ONE, OTHER = "1" * 16, "2" * 16
GRACE = JobSettings(lease_s=1.001, digest_grace_s=60.0)


def _submit(redis: RedisSettings, digest: str = ONE, idempotency: Idempotency | None = None) -> Job:
    return put_in(redis, a_submission(model_digest=digest, idempotency=idempotency or Idempotency()))[0]


def _claimed(redis: RedisSettings, digest: str) -> str | None:
    claim = Claims(redis, JOBS, f"worker of {digest}", digest).claim_next(GRAPH)
    return None if claim is None else claim.job.id


def _upkeep(redis: RedisSettings, digest: str) -> Upkeep:
    upkeep = Upkeep(redis, f"worker of {digest}", GRACE, digest=digest)
    upkeep._back_at = float("-inf")
    return upkeep


def _beat(upkeep: Upkeep) -> None:
    """Publish that the worker of this upkeep lives."""
    name, digest = upkeep._worker, upkeep._digest
    upkeep.heartbeat(WorkerPresence(name, GRAPH, "CPU", ready=True, operations=(), seen_at=0.0, digest=digest))


def _age(redis: RedisSettings, job: Job, seconds: float, *digests: str) -> None:
    """Let the job have been submitted, and these digests have been seen, so many seconds earlier."""
    with client(redis) as raw:
        raw.hincrbyfloat(keys.job(job.id), "created_at", -seconds)
        for digest in digests:
            raw.zincrby(keys.digests(GRAPH), -seconds * 1000, digest)


def test_each_worker_claims_the_jobs_of_its_own_model_in_their_order(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings, digest) for digest in (ONE, OTHER, OTHER, ONE)]
    ids = [job.id for job in jobs]
    assert waiting(redis_settings) == ids
    assert [_claimed(redis_settings, OTHER) for _ in range(3)] == [ids[1], ids[2], None]
    assert [_claimed(redis_settings, ONE) for _ in range(3)] == [ids[0], ids[3], None]


def test_a_job_without_a_digest_is_drawn_by_any_worker_and_a_worker_without_one_draws_any(
    redis_settings: RedisSettings,
) -> None:
    old, new = _submit(redis_settings, ""), _submit(redis_settings, ONE)
    assert _claimed(redis_settings, OTHER) == old.id
    assert _claimed(redis_settings, OTHER) is None
    assert _claimed(redis_settings, "") == new.id


def test_a_job_that_leaves_the_queue_leaves_no_entry(redis_settings: RedisSettings) -> None:
    jobs = [_submit(redis_settings) for _ in range(4)]
    cancel(redis_settings, jobs[0])
    erase(redis_settings, jobs[1])
    claims = Claims(redis_settings, JOBS, "w", ONE)
    claim = claims.claim_next(GRAPH)
    assert claim and claims.hand_back(claim)
    with client(redis_settings) as raw:
        entries = raw.zrange(keys.by_digest(GRAPH), 0, -1)
        assert [entry.rpartition(" ")[2] for entry in entries] == [jobs[2].id, jobs[3].id]
        # An older release knows no such entries: it takes the job and leaves its entry.
        raw.zrem(keys.queued(GRAPH), jobs[2].id)
    _submit(redis_settings, "0" * 16)
    assert _claimed(redis_settings, ONE) == jobs[3].id


def test_a_job_without_a_worker_of_its_model_waits_and_then_fails_with_a_sentence(
    settled_redis: RedisSettings,
) -> None:
    redis = settled_redis
    job, kept = _submit(redis, ONE), _submit(redis, OTHER)
    upkeep = _upkeep(redis, OTHER)
    _beat(upkeep)
    upkeep.reap()
    _age(redis, job, 59, ONE)
    upkeep.reap()
    assert look(redis, job).status is Status.QUEUED
    _age(redis, job, 2, ONE)
    _age(redis, kept, 61)
    upkeep.reap()
    failed = look(redis, job)
    assert failed.status is Status.FAILED and failed.error is not None
    assert failed.error.code == "model_changed"
    assert (
        "60 s (IMAGEGEN_JOBS__DIGEST_GRACE_S)" in failed.error.message
        and "Send the request again." in failed.error.message
    )
    assert look(redis, kept).status is Status.QUEUED
    assert _claimed(redis, OTHER) == kept.id


def test_time_without_any_worker_does_not_count(settled_redis: RedisSettings) -> None:
    job = _submit(settled_redis, ONE)
    upkeep = _upkeep(settled_redis, OTHER)
    _beat(upkeep)
    upkeep.reap()
    _age(settled_redis, job, 3600, ONE, OTHER, "")  # a night
    _beat(upkeep)
    upkeep.reap()
    upkeep.reap()
    assert look(settled_redis, job).status is Status.QUEUED


@pytest.mark.parametrize("digest", [ONE, ""])
def test_a_live_worker_of_the_model_keeps_its_jobs_waiting(settled_redis: RedisSettings, digest: str) -> None:
    job = _submit(settled_redis, ONE)
    for upkeep in (_upkeep(settled_redis, OTHER), _upkeep(settled_redis, digest)):
        _beat(upkeep)
        upkeep.reap()
    _age(settled_redis, job, 3600, ONE, OTHER)
    _beat(_upkeep(settled_redis, digest))
    _upkeep(settled_redis, OTHER).reap()
    assert look(settled_redis, job).status is Status.QUEUED


def test_a_requeued_job_wakes_a_worker_of_its_model(settled_redis: RedisSettings) -> None:
    _submit(settled_redis, ONE)
    assert Claims(settled_redis, SHORT, "gone", ONE).claim_next(GRAPH)
    upkeep = _upkeep(settled_redis, OTHER)
    with client(settled_redis) as raw:
        (running,) = raw.zrange(keys.running(GRAPH), 0, -1)
        raw.zadd(keys.running(GRAPH), {running: 1})
    assert upkeep.reap() == [running]
    assert upkeep.sent == [queue_name(GRAPH, ONE)]
    upkeep.pass_on()
    assert len(upkeep.sent) == 1, "the job is not this worker's"
    mine = _upkeep(settled_redis, ONE)
    mine.pass_on()
    assert mine.sent == [queue_name(GRAPH, ONE)]


@pytest.mark.parametrize("join", ["always", "live"])
def test_an_equal_request_to_another_model_joins_no_job(
    redis_settings: RedisSettings, join: Literal["always", "live"]
) -> None:
    key = Idempotency("key:x", "digest", 100, join)
    first, again, other = (_submit(redis_settings, digest, key) for digest in (ONE, ONE, OTHER))
    assert first.id == again.id != other.id
    assert _submit(redis_settings, OTHER, key).id == other.id


def test_a_name_means_one_model_only(redis_settings: RedisSettings) -> None:
    named = a_submission(name="mine", model_digest=ONE)
    first, _ = put_in(redis_settings, named)
    assert put_in(redis_settings, named)[0].id == first.id
    with pytest.raises(IdempotencyConflict):
        put_in(redis_settings, replace(named, model_digest=OTHER))


def test_a_claim_wakes_a_further_worker_of_its_model_only(redis_settings: RedisSettings) -> None:
    for digest in (ONE, ONE, OTHER):
        _submit(redis_settings, digest)
    claims = Claims(redis_settings, JOBS, "worker", ONE, lambda queue: f"a message for {queue}")
    sent = []
    with client(redis_settings) as raw:
        for _ in range(2):
            assert claims.claim_next(GRAPH)
            sent.append(raw.lrange(keys.messages(GRAPH, ONE), 0, -1))
            raw.delete(keys.messages(GRAPH, ONE))
    assert sent == [[f"a message for {GRAPH}@{ONE}"], []]


def test_a_job_without_a_digest_is_not_kept_back_by_one_of_another_model(redis_settings: RedisSettings) -> None:
    _submit(redis_settings, OTHER)
    free, own = _submit(redis_settings, ""), _submit(redis_settings, ONE)
    assert [_claimed(redis_settings, ONE) for _ in range(3)] == [free.id, own.id, None]


def test_a_job_that_an_older_release_put_back_is_drawn_or_fails_as_any(settled_redis: RedisSettings) -> None:
    """An older release knows no entries by digest."""
    jobs = [_submit(settled_redis, ONE) for _ in range(2)]
    with client(settled_redis) as raw:
        raw.delete(keys.by_digest(GRAPH), keys.digests(GRAPH))
    assert _upkeep(settled_redis, OTHER)._waiting(9) == []
    assert _upkeep(settled_redis, ONE)._waiting(9) == [jobs[0].id]
    assert _claimed(settled_redis, ONE) == jobs[0].id
    other = _upkeep(settled_redis, OTHER)
    _beat(other)
    other.reap()
    _age(settled_redis, jobs[1], 61, ONE)
    other.reap()
    assert look(settled_redis, jobs[1]).status is Status.FAILED


def test_a_job_of_a_worker_that_died_fails_after_its_grace_as_well(settled_redis: RedisSettings) -> None:
    job, other = _submit(settled_redis, ONE), _upkeep(settled_redis, OTHER)
    _beat(_upkeep(settled_redis, ONE))
    assert _claimed(settled_redis, ONE) == job.id
    for _ in range(2):
        _beat(other)
        other.reap()
        _age(settled_redis, job, 61, ONE)
    other.reap()
    with client(settled_redis) as raw:
        assert raw.zscore(keys.digests(GRAPH), ONE) is None
        raw.zadd(keys.running(GRAPH), {job.id: 1})
    assert other.reap() == [job.id]
    other.reap()
    assert look(settled_redis, job).status is Status.QUEUED
    _age(settled_redis, job, 61, ONE)
    other.reap()
    assert look(settled_redis, job).status is Status.FAILED


def test_a_worker_without_a_digest_may_draw_any_job(settled_redis: RedisSettings) -> None:
    job, new = _submit(settled_redis, ONE), _upkeep(settled_redis, OTHER)
    _beat(new)
    new.reap()
    _age(settled_redis, job, 3600, ONE)
    _beat(_upkeep(settled_redis, ""))
    new.reap()
    assert look(settled_redis, job).status is Status.QUEUED


def test_a_lost_message_is_sent_again_while_the_other_model_draws(settled_redis: RedisSettings) -> None:
    _submit(settled_redis, OTHER)
    assert _claimed(settled_redis, OTHER)
    job, upkeep = _submit(settled_redis, ONE), _upkeep(settled_redis, ONE)
    _beat(upkeep)
    _age(settled_redis, job, 6)
    assert (upkeep.resend_lost(), upkeep.sent) == (1, [queue_name(GRAPH, ONE)])


def test_a_request_joins_the_job_that_an_older_release_made_of_it(redis_settings: RedisSettings) -> None:
    key = Idempotency("key:x", "digest", 100, "always")
    old = _submit(redis_settings, "", key)
    assert _submit(redis_settings, ONE, key).id == old.id
    later = replace(key, key="key:y")
    new = _submit(redis_settings, ONE, later)
    assert _submit(redis_settings, "", later).id == new.id
