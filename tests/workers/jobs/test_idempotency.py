import time

import pytest

from config.settings import RedisSettings
from graphs.errors import IdempotencyConflict, JobNotFound
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import (
    a_request,
    a_submission,
    cancel,
    claimed,
    claims_of,
    client,
    ended,
    erase,
    look,
    on_store,
    put_in,
    waiting,
)
from workers.jobs.job import Job
from workers.jobs.job_options import JobOptions
from workers.jobs.status import Status
from workers.jobs.store import Idempotency, Submission

KEYED = Idempotency("key:mine", "digest", 100, "always")
FIRST = Idempotency("retry:digest", "digest", 100, "never")
AGAIN = Idempotency("retry:digest", "digest", 100, "live")
STATUSES = list(Status)


def _bring(settings: RedisSettings, job: Job, status: Status) -> None:
    if status is Status.IN_PROGRESS:
        claimed(settings, job)
    elif status is not Status.QUEUED:
        ended(settings, job, status)
    assert look(settings, job).status is status


@pytest.mark.parametrize("status", STATUSES)
def test_the_same_key_and_request_joins_a_job_of_any_status(redis_settings: RedisSettings, status: Status) -> None:
    job, is_new = put_in(redis_settings, a_submission(idempotency=KEYED))
    _bring(redis_settings, job, status)
    again, is_new_again = put_in(redis_settings, a_submission(idempotency=KEYED))
    assert (is_new, is_new_again, again.id) == (True, False, job.id)
    assert len(waiting(redis_settings)) == (status is Status.QUEUED)


@pytest.mark.parametrize("status", STATUSES)
def test_the_same_key_with_another_request_is_refused(redis_settings: RedisSettings, status: Status) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED))
    _bring(redis_settings, job, status)
    with pytest.raises(IdempotencyConflict):
        put_in(redis_settings, a_submission(idempotency=Idempotency("key:mine", "other", 100, "always")))


@pytest.mark.parametrize("status", STATUSES)
def test_a_retry_joins_a_job_that_has_not_failed(redis_settings: RedisSettings, status: Status) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=FIRST))
    _bring(redis_settings, job, status)
    again, is_new = put_in(redis_settings, a_submission(idempotency=AGAIN))
    joins = status in (Status.QUEUED, Status.IN_PROGRESS, Status.COMPLETED)
    assert (again.id == job.id, is_new) == (joins, not joins)
    third, is_new = put_in(redis_settings, a_submission(idempotency=AGAIN))
    assert (third.id, is_new) == (again.id, False)


def test_a_first_attempt_joins_nothing(redis_settings: RedisSettings) -> None:
    jobs = [put_in(redis_settings, a_submission(idempotency=FIRST)) for _ in range(2)]
    assert [is_new for _, is_new in jobs] == [True, True]
    assert put_in(redis_settings, a_submission(idempotency=AGAIN))[0].id == jobs[1][0].id


def test_a_retry_without_a_first_attempt_is_a_new_job(redis_settings: RedisSettings) -> None:
    assert put_in(redis_settings, a_submission(idempotency=AGAIN))[1]
    assert not put_in(redis_settings, a_submission(idempotency=AGAIN))[1]


def test_an_erased_job_is_not_joined(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED))
    erase(redis_settings, job)
    again, is_new = put_in(redis_settings, a_submission(idempotency=KEYED))
    assert is_new
    assert again.id != job.id


def test_a_key_is_remembered_for_its_time(redis_settings: RedisSettings) -> None:
    put_in(redis_settings, a_submission(idempotency=KEYED))
    key = keys.idempotency("anyone", KEYED.key)
    with client(redis_settings) as raw:
        assert 95 < int(str(raw.ttl(key))) <= 100
        raw.pexpire(key, 10)
        wait_until(lambda: not raw.exists(key))
    assert put_in(redis_settings, a_submission(idempotency=Idempotency("key:mine", "other", 100, "always")))[1]


def test_requests_without_a_key_store_none(redis_settings: RedisSettings) -> None:
    put_in(redis_settings, a_submission(idempotency=Idempotency(digest="digest")))
    with client(redis_settings) as raw:
        assert list(raw.scan_iter("*:once:*")) == []


def test_another_owners_key_is_another_key(redis_settings: RedisSettings) -> None:
    first, _ = put_in(redis_settings, a_submission("a", idempotency=KEYED))
    second, is_new = put_in(
        redis_settings, a_submission("b", idempotency=Idempotency("key:mine", "other", 100, "always"))
    )
    assert is_new
    assert {look(redis_settings, job).options.owner for job in (first, second)} == {"a", "b"}


def test_a_job_has_the_id_that_its_client_chose(redis_settings: RedisSettings) -> None:
    job, is_new = put_in(redis_settings, a_submission(idempotency=Idempotency(digest="d"), name="my-job"))
    assert (job.name, is_new) == ("my-job", True)
    again, is_new = put_in(redis_settings, a_submission(idempotency=Idempotency(digest="d"), name="my-job"))
    assert (again.id, is_new) == (job.id, False)
    assert waiting(redis_settings) == [job.id]


def test_a_name_belongs_to_its_request(redis_settings: RedisSettings) -> None:
    put_in(redis_settings, a_submission(idempotency=Idempotency(digest="d"), name="my-job"))
    with pytest.raises(IdempotencyConflict):
        put_in(redis_settings, a_submission(idempotency=Idempotency(digest="other"), name="my-job"))


def test_another_owners_job_is_not_found(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission("a", idempotency=KEYED))
    with pytest.raises(JobNotFound):
        on_store(redis_settings, lambda store: store.get(job.id, "b"))


def test_every_submission_counts_as_one_waiter(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED))
    for _ in range(2):
        put_in(redis_settings, a_submission(idempotency=KEYED))
    changes = (0, -1, -1, -1)
    left = [on_store(redis_settings, lambda store, by=by: store.add_waiter(job, by)) for by in changes]  # type: ignore[misc]
    assert left == [3, 2, 1, 0]


def test_a_job_without_a_waiting_client_is_not_started(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED, start_by=time.time() - 1))
    following, _ = put_in(redis_settings, a_submission(idempotency=Idempotency()))
    claimed(redis_settings, following)
    late = look(redis_settings, job)
    assert (late.status, late.error and late.error.code) == (Status.CANCELLED, "deadline_exceeded")


@pytest.mark.parametrize("start_by", [None, time.time() + 3600], ids=["for ever", "an hour"])
def test_a_later_submission_moves_the_limit(redis_settings: RedisSettings, start_by: float | None) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED, start_by=time.time() - 1))
    put_in(redis_settings, a_submission(idempotency=KEYED, start_by=start_by))
    claimed(redis_settings, job)


def test_a_job_without_a_limit_gets_none_from_a_retry(redis_settings: RedisSettings) -> None:
    job, _ = put_in(redis_settings, a_submission(idempotency=KEYED))
    put_in(redis_settings, a_submission(idempotency=KEYED, start_by=time.time() - 1))
    claimed(redis_settings, job)


def test_a_deadline_ends_a_waiting_job(redis_settings: RedisSettings) -> None:
    options = JobOptions(deadline=time.time() - 1)
    job, _ = put_in(redis_settings, Submission(a_request(), options=options))
    assert claims_of(redis_settings).claim_next("demo") is None
    over = cancel(redis_settings, job)
    assert (over.status, over.error and over.error.code) == (Status.CANCELLED, "deadline_exceeded")
