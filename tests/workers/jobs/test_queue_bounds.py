"""The bounds of the queue in jobs and bytes, of a graph and of an API key, and the backlog that counts them."""

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config.settings import JobSettings, RedisSettings
from graphs.errors import JobNotFound, QueueFull, RequestTooLarge
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    SHORT,
    Upkeep,
    a_submission,
    cancel,
    claimed,
    claims_of,
    client,
    erase,
    put_in,
    submit,
    waiting,
    with_step_times,
)
from tests.workers.jobs.kept_support import assert_counts_agree
from workers.jobs.claims import Claim
from workers.jobs.job import Job, JobError
from workers.jobs.store import Idempotency

# A request without an input image has a few hundred bytes.
_IMAGE = b"p" * 10_000

BOUNDS: dict[str, tuple[JobSettings, str, str]] = {
    "jobs": (JobSettings(max_queued=2), "other", "2 jobs wait for 'demo' already"),
    "bytes": (JobSettings(max_queued_bytes=25_000), "other", "What waits for 'demo' has nearly 25000 bytes"),
    "jobs of a key": (JobSettings(max_queued_per_key=2), "key", "2 jobs of this API key wait for 'demo'"),
    "bytes of a key": (JobSettings(max_queued_bytes_per_key=25_000), "key", "of this API key has nearly 25000 bytes"),
}


@pytest.mark.parametrize("bound", list(BOUNDS))
def test_a_job_above_the_bound_is_refused_until_one_is_claimed(redis_settings: RedisSettings, bound: str) -> None:
    jobs, owner, sentence = BOUNDS[bound]
    first, _ = put_in(redis_settings, a_submission("key", image=_IMAGE), jobs)
    put_in(redis_settings, a_submission("key", image=_IMAGE), jobs)
    with pytest.raises(QueueFull, match=sentence) as refusal:
        put_in(redis_settings, a_submission(owner, image=_IMAGE), jobs)
    assert 1 <= (refusal.value.retry_after_s or 0) <= 60
    assert len(waiting(redis_settings)) == 2
    claimed(redis_settings, first)
    assert put_in(redis_settings, a_submission(owner, image=_IMAGE), jobs)[1]


@pytest.mark.parametrize("bound", ["jobs of a key", "bytes of a key"])
def test_the_bound_of_a_key_does_not_apply_to_others(redis_settings: RedisSettings, bound: str) -> None:
    jobs, _, _ = BOUNDS[bound]
    for owner in ("key", "key", "other", "other", "anyone", "anyone", "anyone"):
        assert put_in(redis_settings, a_submission(owner, image=_IMAGE), jobs)[1]


def test_a_request_that_fits_no_queue_has_no_retry_after(redis_settings: RedisSettings) -> None:
    for jobs, owner in (
        (JobSettings(max_queued_bytes=10_000), "anyone"),
        (JobSettings(max_queued_bytes_per_key=10_000), "key"),
    ):
        with pytest.raises(RequestTooLarge, match="this queue takes 10000"):
            put_in(redis_settings, a_submission(owner, image=_IMAGE), jobs)
    assert put_in(redis_settings, a_submission(image=_IMAGE), JobSettings(max_queued_bytes_per_key=10_000))[1]


def test_retry_after_follows_the_measured_times(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_queued=16)
    for _ in range(16):
        put_in(redis_settings, a_submission(), jobs)
    waits = []
    for step_s in (0.1, 100, 10**6):
        with_step_times(redis_settings, step_s)
        with pytest.raises(QueueFull) as refusal:
            put_in(redis_settings, a_submission(), jobs)
        waits.append(refusal.value.retry_after_s or 0)
    assert waits[0] == 1
    assert waits[0] < waits[1] < waits[2] == 60


def test_jobs_without_a_recorded_size_are_not_counted(redis_settings: RedisSettings) -> None:
    old, new = submit(redis_settings, _IMAGE), submit(redis_settings)
    with client(redis_settings) as raw:
        raw.hdel(keys.job(old.id), "bytes")
        before = {name: int(count) for name, count in raw.hgetall(keys.backlog(GRAPH)).items()}
        claimed(redis_settings, old)
        assert {name: int(count) for name, count in raw.hgetall(keys.backlog(GRAPH)).items()} == before
        erase(redis_settings, new)
        assert raw.exists(keys.backlog(GRAPH)) == 0


# Owners "a" and "b" may keep five jobs, so that ended ones are evicted.
_FEW = JobSettings(max_queued=6, max_queued_bytes_per_key=4000, max_kept_per_key=5)


class Counting(RuleBasedStateMachine):
    """Transitions in any order: the backlog always agrees with the waiting jobs, and what is kept with the records."""

    redis: RedisSettings

    def __init__(self) -> None:
        super().__init__()
        with client(self.redis) as raw:
            raw.flushall()
        self.jobs: list[Job] = []
        self.claims: list[Claim] = []
        self.upkeep = Upkeep(self.redis, jobs=SHORT)
        self.worker = claims_of(self.redis)

    @rule(
        owner=st.sampled_from(["anyone", "a", "b"]),
        size=st.integers(0, 2000),
        key=st.sampled_from(["", "x"]),
        late=st.booleans(),
    )
    def submit(self, owner: str, size: int, key: str, late: bool) -> None:
        idempotency = Idempotency(f"key:{key}", "digest", 100, "always") if key else Idempotency()
        submission = a_submission(owner, image=b"i" * size, idempotency=idempotency, start_by=1.0 if late else None)
        with contextlib.suppress(QueueFull):
            job, is_new = put_in(self.redis, submission, _FEW)
            self.jobs += [job] if is_new else []

    @rule(max_attempts=st.sampled_from([1, 3]))
    def claim(self, max_attempts: int) -> None:
        claim = claims_of(self.redis, jobs=JobSettings(max_attempts=max_attempts)).claim_next(GRAPH)
        self.claims += [claim] if claim else []

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), erasing=st.booleans())
    def take_away(self, data: st.DataObject, erasing: bool) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        if erasing:
            erase(self.redis, job)
            self.jobs.remove(job)
        else:
            with contextlib.suppress(JobNotFound):  # it was evicted
                cancel(self.redis, job)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "cancelled", "lose"]))
    def end(self, data: st.DataObject, how: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if how == "complete":
            self.worker.complete(claim, [b"image"], {})
        elif how == "fail":
            self.worker.fail(claim, JobError("x", "y"))
        elif how == "cancelled":
            self.worker.cancelled(claim)
        else:
            self.upkeep.end_lease(claim.job.id)
            self.upkeep.reap()

    @invariant()
    def backlog_agrees_with_queue(self) -> None:
        with client(self.redis) as raw:
            counted = {name: int(count) for name, count in raw.hgetall(keys.backlog(GRAPH)).items()}
            waits: dict[str, int] = {}
            for job_id in waiting(self.redis):
                owner, text = raw.hmget(keys.job(job_id), "owner", "bytes")
                size_bytes = int(str(text))
                assert size_bytes >= int(raw.strlen(keys.image(job_id)))
                for name, count in (("bytes", size_bytes), (f"bytes:{owner}", size_bytes), (f"jobs:{owner}", 1)):
                    waits[name] = waits.get(name, 0) + count
        assert counted == waits

    @invariant()
    def kept_agrees_with_records(self) -> None:
        assert_counts_agree(self.redis)


def test_the_backlog_always_agrees_with_the_queue(settled_redis: RedisSettings) -> None:
    class OnThisRedis(Counting):
        redis = settled_redis

    run_state_machine_as_test(
        OnThisRedis,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        ),
    )
