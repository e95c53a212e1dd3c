from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import pytest

from config.settings import JobSettings, RedisSettings
from graphs.errors import ArtifactExpired, JobNotFound, QueueFull, ServiceUnavailable
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    SHORT,
    Upkeep,
    cancel,
    claimed,
    claims_of,
    client,
    ended,
    erase,
    estimate,
    look,
    on_store,
    put_in,
    submit,
    waiting,
)
from workers.jobs.claims import Claim, Claims
from workers.jobs.job import Job, JobError
from workers.jobs.status import TRANSITIONS, Status
from workers.jobs.store import Submission

FINAL = [status for status in Status if status.is_final]
CRASH = JobError("generation_failed", "It went wrong: ж \"'\n")


def test_a_claim_has_the_request_and_the_input_images(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings, b"image\x00", b"mask\xff")
    claim = claimed(redis_settings, job)
    assert (claim.job.id, claim.job.request) == (job.id, job.request)
    assert (claim.image, claim.mask) == (b"image\x00", b"mask\xff")
    running = look(redis_settings, job)
    assert (running.status, running.attempts, running.step) == (Status.IN_PROGRESS, 1, 0)
    assert running.started_at is not None
    assert running.started_at >= job.created_at
    assert waiting(redis_settings) == []


def test_a_claim_of_a_job_without_input_images_has_none(redis_settings: RedisSettings) -> None:
    claim = claimed(redis_settings, submit(redis_settings))
    assert (claim.image, claim.mask) == (None, None)


def test_a_job_that_runs_elsewhere_is_not_claimed(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claimed(redis_settings, job, "one")
    for worker in ("one", "two"):
        assert claims_of(redis_settings, worker).claim_next(GRAPH) is None
    assert look(redis_settings, job).attempts == 1


def test_an_empty_queue_has_no_job_to_claim(redis_settings: RedisSettings) -> None:
    submit(redis_settings, graph="other")
    for graph in (GRAPH, "", "ж"):
        assert claims_of(redis_settings).claim_next(graph) is None


def test_concurrent_workers_claim_every_job_once(redis_settings: RedisSettings) -> None:
    jobs = [submit(redis_settings) for _ in range(12)]

    def take_all(worker: str) -> list[str]:
        claims = claims_of(redis_settings, worker)
        return [claim.job.id for claim in iter(lambda: claims.claim_next(GRAPH), None)]

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take_all, "abcd"))
    assert sorted(chain(*taken)) == sorted(job.id for job in jobs)


def test_a_queued_job_without_a_record_is_skipped(redis_settings: RedisSettings) -> None:
    forgotten, job = submit(redis_settings), submit(redis_settings)
    with client(redis_settings) as raw:
        raw.delete(keys.job(forgotten.id))
    claimed(redis_settings, job)
    assert waiting(redis_settings) == []


def test_a_second_claim_of_a_job_has_another_token(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis)
    former = claimed(settled_redis, job)
    _requeue(settled_redis, job, former)
    latter, claims = claimed(settled_redis, job), claims_of(settled_redis)
    assert former.token != latter.token
    assert look(settled_redis, job).attempts == 2
    assert claims.progress(former, 1, 4) == "lost"
    assert not claims.complete(former, [b"old"], {})
    assert claims.progress(latter, 1, 4) == "go on"


def test_a_job_whose_lease_ended_is_claimed_by_another_worker(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis)
    claimed(settled_redis, job, "one", SHORT)
    wait_until(Upkeep(settled_redis).reap)
    assert claimed(settled_redis, job, "two").job.attempts == 2


def test_a_job_that_used_all_attempts_is_not_claimed_again(settled_redis: RedisSettings) -> None:
    job, following = submit(settled_redis), submit(settled_redis)
    for _ in range(3):
        _requeue(settled_redis, job, claimed(settled_redis, job, jobs=JobSettings(max_attempts=9)), max_attempts=9)
    claimed(settled_redis, following)
    over = look(settled_redis, job)
    assert (over.status, over.attempts) == (Status.FAILED, 3)
    assert over.error == JobError("worker_crashed", "The worker died 3 times while it ran this job.")


def test_progress_is_recorded(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claim = claimed(redis_settings, job)
    assert claims_of(redis_settings).progress(claim, 3, 4) == "go on"
    running = look(redis_settings, job)
    assert (running.step, running.total_steps, running.progress) == (3, 4, 75)


def test_progress_reports_a_cancellation(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings, b"image")
    claim, claims = claimed(redis_settings, job), claims_of(redis_settings)
    assert cancel(redis_settings, job).status is Status.IN_PROGRESS
    assert claims.progress(claim, 1, 4) == "cancel"
    assert claims.cancelled(claim)
    over = look(redis_settings, job)
    assert (over.status, over.error, over.artifacts) == (Status.CANCELLED, None, 0)
    assert claims.progress(claim, 2, 4) == "lost"


def test_a_waiting_job_is_cancelled_at_once(redis_settings: RedisSettings) -> None:
    job, other = submit(redis_settings, b"image", b"mask"), submit(redis_settings)
    assert cancel(redis_settings, job).status is Status.CANCELLED
    assert cancel(redis_settings, job).status is Status.CANCELLED
    assert waiting(redis_settings) == [other.id]
    claimed(redis_settings, other)
    assert _kept(redis_settings, job) == {keys.job(job.id), keys.job_events(job.id)}


def test_an_unknown_job_is_not_cancelled(redis_settings: RedisSettings) -> None:
    job = replace(submit(redis_settings), id="imgjob_none")
    with pytest.raises(JobNotFound, match="imgjob_none"):
        cancel(redis_settings, job)
    assert _kept(redis_settings, job) == set()


def test_a_job_whose_worker_died_is_cancelled_at_once(settled_redis: RedisSettings) -> None:
    job = submit(settled_redis, b"image")
    claim = claimed(settled_redis, job)
    Upkeep(settled_redis).end_lease(job.id)
    assert cancel(settled_redis, job).status is Status.CANCELLED
    assert claims_of(settled_redis).progress(claim, 1, 4) == "lost"
    assert _kept(settled_redis, job) == {keys.job(job.id), keys.job_events(job.id)}


@pytest.mark.parametrize("status", [None, Status.IN_PROGRESS, *FINAL])
def test_nothing_is_stored_of_an_erased_job(redis_settings: RedisSettings, status: Status | None) -> None:
    job = submit(redis_settings, b"image", b"mask")
    claim = claimed(redis_settings, job) if status is Status.IN_PROGRESS else None
    if status in FINAL:
        ended(redis_settings, job, status)
    erase(redis_settings, job)
    if claim:
        assert claims_of(redis_settings).progress(claim, 1, 4) == "lost"
        assert not claims_of(redis_settings).complete(claim, [b"late"], {})
    assert _kept(redis_settings, job) == set()
    with client(redis_settings) as raw:
        for key in (keys.queued(GRAPH), keys.running(GRAPH), keys.owner_jobs("anyone")):
            assert raw.zcard(key) == 0


def test_waiters_of_an_erased_job_store_nothing(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    assert on_store(redis_settings, lambda store: store.add_waiter(job, 0)) == 1
    assert on_store(redis_settings, lambda store: store.add_waiter(job, -1)) == 0
    erase(redis_settings, job)
    assert on_store(redis_settings, lambda store: store.add_waiter(job, -1)) == 0
    assert _kept(redis_settings, job) == set()


def _kept(settings: RedisSettings, job: Job) -> set[str]:
    with client(settings) as raw:
        return {str(key) for key in raw.scan_iter(f"{keys.job(job.id)}*")}


def test_artifacts_are_kept_for_their_time(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(result_ttl_s=100, record_ttl_s=200)
    job = submit(redis_settings, b"image", b"mask")
    claim = claimed(redis_settings, job, jobs=jobs)
    assert claims_of(redis_settings, jobs=jobs).complete(claim, [b"one\x00", b"", b"three"], {"generate": 1.23456789})
    over = look(redis_settings, job)
    assert (over.status, over.artifacts, over.seconds) == (Status.COMPLETED, 3, {"generate": 1.234568})
    assert on_store(redis_settings, lambda store: store.artifacts(over)) == [b"one\x00", b"", b"three"]
    artifacts = {keys.artifact(job.id, index): 100 for index in range(3)}
    assert _kept(redis_settings, job) == {keys.job(job.id), keys.job_events(job.id), *artifacts}
    with client(redis_settings) as raw:
        for key, ttl in {**artifacts, keys.job(job.id): 200, keys.job_events(job.id): 100}.items():
            assert ttl - 5 < int(str(raw.ttl(key))) <= ttl


def test_a_completed_jobs_times_are_in_order(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claims_of(redis_settings).complete(claimed(redis_settings, job), [b"x"], {})
    over = look(redis_settings, job)
    assert over.started_at
    assert over.completed_at
    assert job.created_at <= over.started_at <= over.completed_at
    assert over.expires_at == pytest.approx(over.completed_at + JobSettings().result_ttl_s, abs=0.01)


def test_expired_artifacts_are_reported(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claims_of(redis_settings).complete(claimed(redis_settings, job), [b"x", b"y"], {})
    with client(redis_settings) as raw:
        raw.delete(keys.artifact(job.id, 1))
    over = look(redis_settings, job)
    with pytest.raises(ArtifactExpired, match="kept for 3600 s"):
        on_store(redis_settings, lambda store: store.artifacts(over))


def test_a_large_batch_of_artifacts_is_stored(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    artifacts = [bytes([index]) * 300_000 for index in range(32)]
    assert claims_of(redis_settings).complete(claimed(redis_settings, job), artifacts, {})
    over = look(redis_settings, job)
    assert on_store(redis_settings, lambda store: store.artifacts(over)) == artifacts


def test_a_failed_job_has_its_error(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings, b"image")
    claim = claimed(redis_settings, job)
    assert claims_of(redis_settings).fail(claim, CRASH)
    over = look(redis_settings, job)
    assert (over.status, over.error) == (Status.FAILED, CRASH)
    assert _kept(redis_settings, job) == {keys.job(job.id), keys.job_events(job.id)}


Ending = Callable[[Claims, Claim], bool]
ENDINGS: dict[Status, Ending] = {
    Status.COMPLETED: lambda claims, claim: claims.complete(claim, [b"late"], {}),
    Status.FAILED: lambda claims, claim: claims.fail(claim, CRASH),
    Status.CANCELLED: lambda claims, claim: claims.cancelled(claim),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_wrong_token_ends_no_job(redis_settings: RedisSettings, ending: Status) -> None:
    job = submit(redis_settings)
    claim = claimed(redis_settings, job)
    assert not ENDINGS[ending](claims_of(redis_settings), Claim(claim.job, "one/2", None, None))
    assert look(redis_settings, job).status is Status.IN_PROGRESS
    assert ENDINGS[ending](claims_of(redis_settings), claim)
    assert look(redis_settings, job).status is ending


def test_a_job_without_a_claim_is_not_ended(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    for end in ENDINGS.values():
        assert not end(claims_of(redis_settings), Claim(job, "", None, None))
    assert look(redis_settings, job).status is Status.QUEUED


def _put(settings: RedisSettings, status: Status) -> tuple[Job, Claim]:
    """Return a job in this status, and its last claim."""
    job = submit(settings)
    claim = claimed(settings, job, jobs=SHORT)
    if status in ENDINGS:
        assert ENDINGS[status](claims_of(settings), claim)
    if status is Status.QUEUED:
        upkeep = Upkeep(settings)
        upkeep.end_lease(job.id)
        assert upkeep.reap() == [job.id]
    assert look(settings, job).status is status
    return job, claim


def _requeue(settings: RedisSettings, job: Job, _: Claim, max_attempts: int = 3) -> None:
    upkeep = Upkeep(settings, jobs=SHORT.model_copy(update={"max_attempts": max_attempts}))
    upkeep.end_lease(job.id)
    upkeep.reap()


def _exhaust(settings: RedisSettings, job: Job, claim: Claim) -> None:
    claims_of(settings, jobs=JobSettings(max_attempts=1)).claim_next(GRAPH)
    claims_of(settings).fail(claim, CRASH)


ACTIONS: dict[Status, Callable[[RedisSettings, Job, Claim], object]] = {
    Status.QUEUED: _requeue,
    Status.IN_PROGRESS: lambda settings, _, __: claims_of(settings).claim_next(GRAPH),
    Status.COMPLETED: lambda settings, _, claim: claims_of(settings).complete(claim, [b"late"], {}),
    Status.FAILED: _exhaust,
    Status.CANCELLED: lambda settings, job, claim: (cancel(settings, job), claims_of(settings).cancelled(claim)),
}


@pytest.mark.parametrize("after", list(Status))
@pytest.mark.parametrize("before", list(Status))
def test_only_the_known_transitions_happen(settled_redis: RedisSettings, before: Status, after: Status) -> None:
    job, claim = _put(settled_redis, before)
    untouched = look(settled_redis, job)
    ACTIONS[after](settled_redis, job, claim)
    found = look(settled_redis, job)
    if after in TRANSITIONS[before] or after is before:
        assert found.status is after
    else:
        assert found.status is before
    if before.is_final:
        assert found == untouched
        with client(settled_redis) as raw:
            assert raw.zcard(keys.running(GRAPH)) == 0
            assert waiting(settled_redis) == []


def test_the_queue_is_bounded(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_queued=2)
    first = submit(redis_settings)
    submit(redis_settings)
    with pytest.raises(QueueFull, match="2 jobs wait for 'demo'") as refusal:
        put_in(redis_settings, Submission(first.request), jobs)
    assert 0 < (refusal.value.retry_after_s or 0) <= 60
    claimed(redis_settings, first)
    assert put_in(redis_settings, Submission(first.request), jobs)[0].status is Status.QUEUED


def test_each_graph_has_its_own_queue(redis_settings: RedisSettings) -> None:
    jobs = JobSettings(max_queued=1)
    one = submit(redis_settings)
    other = one.request.model_copy(update={"graph": "other"})
    job, is_new = put_in(redis_settings, Submission(other), jobs)
    assert (is_new, estimate(redis_settings, job).queue_position) == (True, 0)


def test_the_position_is_the_number_of_jobs_before(redis_settings: RedisSettings) -> None:
    submitted = [submit(redis_settings) for _ in range(12)]

    def positions() -> list[int | None]:
        return [estimate(redis_settings, look(redis_settings, job)).queue_position for job in submitted]

    assert positions() == list(range(12))
    claimed(redis_settings, submitted[0])
    assert positions() == [None, *range(11)]


def test_every_change_is_announced(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    claim = claimed(redis_settings, job)
    claims_of(redis_settings).progress(claim, 1, 4)
    claims_of(redis_settings).complete(claim, [b"x"], {})
    with client(redis_settings) as raw:
        ends, steps = ([fields for _, fields in raw.xrange(stream)] for stream in (keys.events, keys.steps))
    assert [fields["type"] for fields in steps] == ["queued", "in_progress", "progress"]
    assert [fields["type"] for fields in ends] == ["completed"]
    assert {fields["job_id"] for fields in (*steps, *ends)} == {job.id}


def test_an_absent_redis_is_reported_soon_while_a_job_runs(redis_settings: RedisSettings) -> None:
    claim = claimed(redis_settings, submit(redis_settings))
    away = Claims(RedisSettings(url="redis://127.0.0.1:1/0"), JobSettings(), "one")
    with pytest.raises(ServiceUnavailable):
        away.progress(claim, 1, 4)


def test_a_graphs_name_may_have_slashes_and_spaces(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings, graph="a/b c", model="x")
    assert waiting(redis_settings, "a/b c") == [job.id]
    assert claimed(redis_settings, job).job.request.graph == "a/b c"
