"""The last failed jobs of a graph, as the scripts that end them note them for administrators."""

import pytest

from config.settings import RedisSettings
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    GRAPH,
    JOBS,
    Upkeep,
    a_submission,
    claimed,
    claims_of,
    client,
    ended,
    erase,
    look,
    on_control,
    put_in,
    submit,
)
from workers.jobs.control.queue_control import FailedJob
from workers.jobs.job import Job, JobError
from workers.jobs.status import Status

KEPT = 100


def _failures(redis: RedisSettings, limit: int = KEPT) -> list[FailedJob]:
    return on_control(redis, lambda control: control.failures(GRAPH, limit))


def _fail(redis: RedisSettings, message: str = "It went wrong.", owner: str = "a") -> Job:
    job = put_in(redis, a_submission(owner))[0]
    assert claims_of(redis, "w/1").fail(claimed(redis, job, "w/1"), JobError("generation_failed", message))
    return job


def test_a_failed_job_is_noted_with_its_owner_its_worker_and_the_reason(redis_settings: RedisSettings) -> None:
    jobs = [_fail(redis_settings, f"{number}", owner) for number, owner in enumerate("ab")]
    found = _failures(redis_settings)
    assert [(one.id, one.owner_id, one.message) for one in found] == [(jobs[1].id, "b", "1"), (jobs[0].id, "a", "0")]
    assert {(one.worker, one.code) for one in found} == {("w/1", "generation_failed")}
    ended_at = look(redis_settings, jobs[1]).completed_at
    assert found[0].failed_at == pytest.approx(ended_at, abs=0.1)
    assert _failures(redis_settings, 1) == found[:1]
    with client(redis_settings) as raw:
        assert 0 < raw.ttl(keys.failures(GRAPH)) <= JOBS.record_ttl_s


def test_jobs_that_end_otherwise_are_not_noted(redis_settings: RedisSettings) -> None:
    for status in (Status.COMPLETED, Status.CANCELLED):
        ended(redis_settings, submit(redis_settings), status)
    assert _failures(redis_settings) == []


def test_a_job_whose_workers_died_is_noted(settled_redis: RedisSettings) -> None:
    job, upkeep = submit(settled_redis), Upkeep(settled_redis)
    for _ in range(JOBS.max_attempts):
        claimed(settled_redis, job)
        upkeep.end_lease(job.id)
        upkeep.reap()
    (found,) = _failures(settled_redis)
    assert (found.id, found.worker, found.code) == (job.id, "one", "worker_crashed")


def test_a_job_that_failed_while_it_waited_has_no_worker(redis_settings: RedisSettings) -> None:
    job = submit(redis_settings)
    with client(redis_settings) as raw:
        raw.hset(keys.job(job.id), "attempts", JOBS.max_attempts)
    assert claims_of(redis_settings).claim_next(GRAPH) is None
    (found,) = _failures(redis_settings)
    assert (found.id, found.worker, found.code) == (job.id, "", "worker_crashed")


def test_the_last_hundred_are_kept_and_none_longer_than_its_record(redis_settings: RedisSettings) -> None:
    for _ in range(KEPT + 5):
        last = _fail(redis_settings)
    assert (len(_failures(redis_settings)), _failures(redis_settings)[0].id) == (KEPT, last.id)
    with client(redis_settings) as raw:
        oldest = raw.zrange(keys.failures(GRAPH), 0, 0)[0]
        raw.zincrby(keys.failures(GRAPH), -1000 * JOBS.record_ttl_s, str(oldest))
        assert len(_failures(redis_settings)) == KEPT - 1
        _fail(redis_settings)
        assert raw.zscore(keys.failures(GRAPH), str(oldest)) is None


@pytest.mark.parametrize("message", ["x" * 5000, "ж" * 5000, "a" + "ж" * 5000, "\U0001f7e5" * 999, '"\\\n' * 999])
def test_of_a_long_message_the_beginning_is_kept(redis_settings: RedisSettings, message: str) -> None:
    _fail(redis_settings, message)
    (found,) = _failures(redis_settings)
    assert found.message.endswith("...") and message.startswith(found.message.removesuffix("..."))
    assert 490 < len(found.message.encode()) <= 503


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("bad \ud800 name", "bad ? name"),
        ("bad \udcff\udcfe name, good \U0001f7e5", "bad ?? name, good \U0001f7e5"),
        ("good \\ud800 and \n\\, bad \udfff", "good \\ud800 and \n\\, bad ?"),
    ],
)
def test_a_message_with_half_a_surrogate_pair_ends_its_job(
    redis_settings: RedisSettings, message: str, shown: str
) -> None:
    job = _fail(redis_settings, message)
    found = look(redis_settings, job)
    assert (found.status, found.error) == (Status.FAILED, JobError("generation_failed", shown))
    (failed,) = _failures(redis_settings)
    assert (failed.code, failed.message) == ("generation_failed", shown)
    with client(redis_settings) as raw:
        assert raw.hget(keys.metrics(GRAPH), "failed:generation_failed") == "1"


def test_an_error_that_cannot_be_read_ends_its_job(
    redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = put_in(redis_settings, a_submission())[0]
    claim = claimed(redis_settings, job)
    monkeypatch.setattr("workers.jobs.claims.json.dumps", lambda _: "no JSON")
    assert claims_of(redis_settings).fail(claim, JobError("generation_failed", "x"))
    monkeypatch.undo()
    with client(redis_settings) as raw:
        assert raw.hget(keys.job(job.id), "status") == Status.FAILED
        assert raw.hget(keys.metrics(GRAPH), "failed:unknown") == "1"


def test_an_erased_job_is_noted_no_longer(redis_settings: RedisSettings) -> None:
    jobs = [_fail(redis_settings) for _ in range(2)]
    erase(redis_settings, jobs[0])
    assert [one.id for one in _failures(redis_settings)] == [jobs[1].id]
    erase(redis_settings, jobs[1])
    with client(redis_settings) as raw:
        assert [key for key in raw.scan_iter() if "failures" in str(key)] == []
