"""What may wait: jobs and bytes, of a graph and of an API key; and that what is counted is what waits."""

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config.settings import JobSettings, RedisSettings
from graphs.errors import QueueFull, RequestTooLarge
from tests.workers.jobs.jobs_support import (
    GRAPH,
    SHORT,
    Upkeep,
    a_request,
    cancel,
    claimed,
    claims_of,
    client,
    erase,
    put_in,
    submit,
    waiting,
)
from workers.jobs.claims import Claim
from workers.jobs.job import Job, JobError
from workers.jobs.job_options import JobOptions
from workers.jobs.redis import keys
from workers.jobs.store import Idempotency, Submission

# A request without a picture has a few hundred bytes.
_PICTURE = b"p" * 10_000


def _asked(
    owner: str = "anyone", image: bytes = b"", once: Idempotency | None = None, start_by: float | None = None
) -> Submission:
    options = JobOptions(owner=owner)
    return Submission(a_request(), options, image=image, idempotency=once or Idempotency(), start_by=start_by)


BOUNDS: dict[str, tuple[JobSettings, str, str]] = {
    "jobs": (JobSettings(max_queued=2), "other", "2 jobs wait for 'demo' already"),
    "bytes": (JobSettings(max_queued_bytes=25_000), "other", "What waits for 'demo' has nearly 25000 bytes"),
    "jobs of a key": (JobSettings(max_queued_per_key=2), "key", "2 jobs of this API key wait for 'demo'"),
    "bytes of a key": (JobSettings(max_queued_bytes_per_key=25_000), "key", "of this API key has nearly 25000 bytes"),
}


@pytest.mark.parametrize("bound", list(BOUNDS))
def test_one_too_many_is_refused_until_one_is_claimed(redis_settings: RedisSettings, bound: str) -> None:
    jobs, owner, sentence = BOUNDS[bound]
    first, _ = put_in(redis_settings, _asked("key", _PICTURE), jobs)
    put_in(redis_settings, _asked("key", _PICTURE), jobs)
    with pytest.raises(QueueFull, match=sentence) as refusal:
        put_in(redis_settings, _asked(owner, _PICTURE), jobs)
    assert 1 <= (refusal.value.retry_after_s or 0) <= 60
    assert len(waiting(redis_settings)) == 2
    claimed(redis_settings, first)
    assert put_in(redis_settings, _asked(owner, _PICTURE), jobs)[1]


@pytest.mark.parametrize("bound", ["jobs of a key", "bytes of a key"])
def test_one_keys_bound_is_not_anothers_nor_that_of_a_server_without_keys(
    redis_settings: RedisSettings, bound: str
) -> None:
    jobs, _, _ = BOUNDS[bound]
    for owner in ("key", "key", "other", "other", "anyone", "anyone", "anyone"):
        assert put_in(redis_settings, _asked(owner, _PICTURE), jobs)[1]


def test_a_request_that_fits_no_queue_is_not_asked_to_come_again(redis_settings: RedisSettings) -> None:
    for jobs, owner in (
        (JobSettings(max_queued_bytes=10_000), "anyone"),
        (JobSettings(max_queued_bytes_per_key=10_000), "key"),
    ):
        with pytest.raises(RequestTooLarge, match="this queue takes 10000"):
            put_in(redis_settings, _asked(owner, _PICTURE), jobs)
    assert put_in(redis_settings, _asked("anyone", _PICTURE), JobSettings(max_queued_bytes_per_key=10_000))[1]


def test_the_wait_follows_the_measured_pace(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_queued=16)
    for _ in range(16):
        put_in(redis_settings, _asked(), jobs)
    waits = []
    for pace in (0.1, 100, 10**6):
        with client(redis_settings) as behind:
            behind.set(keys.pace(GRAPH), pace)
        with pytest.raises(QueueFull) as refusal:
            put_in(redis_settings, _asked(), jobs)
        waits.append(refusal.value.retry_after_s or 0)
    assert waits[0] == 1
    assert waits[0] < waits[1] < waits[2] == 60


def test_jobs_of_before_there_were_bounds_are_not_counted(redis_settings: RedisSettings) -> None:
    old, new = submit(redis_settings, _PICTURE), submit(redis_settings)
    with client(redis_settings) as behind:
        behind.hdel(keys.job(old.id), "bytes")
        before = {name: int(count) for name, count in behind.hgetall(keys.backlog(GRAPH)).items()}
        claimed(redis_settings, old)
        assert {name: int(count) for name, count in behind.hgetall(keys.backlog(GRAPH)).items()} == before
        erase(redis_settings, new)
        assert behind.exists(keys.backlog(GRAPH)) == 0


class Counting(RuleBasedStateMachine):
    """Anything may happen to jobs, in any order: the counts are those of the jobs that wait."""

    redis: RedisSettings

    def __init__(self) -> None:
        super().__init__()
        with client(self.redis) as behind:
            behind.flushall()
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
        once = Idempotency(f"key:{key}", "digest", 100, "always") if key else None
        asked = _asked(owner, b"i" * size, once, start_by=1.0 if late else None)
        with contextlib.suppress(QueueFull):
            job, is_new = put_in(self.redis, asked, JobSettings(max_queued=6, max_queued_bytes_per_key=4000))
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
            cancel(self.redis, job)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "cancelled", "lose"]))
    def end(self, data: st.DataObject, how: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if how == "complete":
            self.worker.complete(claim, [b"picture"], {})
        elif how == "fail":
            self.worker.fail(claim, JobError("x", "y"))
        elif how == "cancelled":
            self.worker.cancelled(claim)
        else:
            self.upkeep.end_lease(claim.job.id)
            self.upkeep.reap()

    @invariant()
    def what_is_counted_is_what_waits(self) -> None:
        with client(self.redis) as behind:
            counted = {name: int(count) for name, count in behind.hgetall(keys.backlog(GRAPH)).items()}
            waits: dict[str, int] = {}
            for job_id in waiting(self.redis):
                owner, text = behind.hmget(keys.job(job_id), "owner", "bytes")
                size_bytes = int(str(text))
                assert size_bytes >= int(behind.strlen(keys.image(job_id)))
                for name, count in (("bytes", size_bytes), (f"bytes:{owner}", size_bytes), (f"jobs:{owner}", 1)):
                    waits[name] = waits.get(name, 0) + count
        assert counted == waits


def test_the_counts_never_drift(settled_redis: RedisSettings) -> None:
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
