"""A job is accepted only when replicas have it, where a setting wants that (``WAIT``)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from cli.checks.finding import Verdict
from cli.checks.redis_check import check_redis
from config.settings import RedisSettings, Settings
from graphs.errors import JobNotFound, ServiceUnavailable
from tests.support.polling import wait_until
from tests.support.sentinels import PASSWORD, Server, Watched
from tests.workers.jobs.jobs_support import a_submission, look, on_store, put_in
from workers.jobs.store import Idempotency

ONCE = Idempotency(key="the-key", digest="d", ttl_s=60, join="always")


@pytest.fixture
def servers(redis_processes: None, tmp_path: Path) -> Iterator[list[Server]]:
    """A primary and its replica; no sentinel is started."""
    watched = Watched(tmp_path / "watched")
    primary, replica = watched.servers
    try:
        primary.start()
        wait_until(primary.answers, "the primary answers")
        replica.start("--replicaof", *map(str, primary.address))
        wait_until(lambda: _confirms(primary), "the replica follows")
        yield watched.servers
    finally:
        watched.stop()


def _replicas(primary: Server) -> int:
    with primary.client() as client:
        found = client.info("replication")
    return sum(str(name).startswith("slave") and "online" in str(state) for name, state in found.items())


def _confirms(primary: Server) -> bool:
    """Return whether the replica confirms a write; it does not in the first second after it has connected."""
    with primary.client() as client:
        client.set("probe", "1", px=1)
        return bool(client.wait(1, 500))


def _waiting_for_one(primary: Server) -> RedisSettings:
    url = f"redis://:{PASSWORD}@{primary.host}:{primary.port}/0"
    return RedisSettings(url=url, wait_replicas=1, wait_replicas_timeout_s=0.3)


def test_an_accepted_job_is_on_the_replica(servers: list[Server]) -> None:
    primary, replica = servers
    job, is_new = put_in(_waiting_for_one(primary), a_submission())
    assert is_new
    with replica.client() as client:
        assert client.keys(f"*{job.id}")


def test_a_job_that_no_replica_confirms_is_refused_and_not_left_behind(servers: list[Server]) -> None:
    primary, replica = servers
    settings = _waiting_for_one(primary)
    replica.kill()
    with pytest.raises(ServiceUnavailable, match=r"could not copy the job to 1 replica within 0\.3 s"):
        put_in(settings, a_submission(idempotency=ONCE))
    with primary.client() as client:
        assert not [key for key in client.keys("*") if b"imgjob_" in key or b"the-key" in key or b":queued" in key]
    replica.start("--replicaof", *map(str, primary.address))
    wait_until(lambda: _confirms(primary), "the replica follows again")
    assert put_in(settings, a_submission(idempotency=ONCE))[1], "the repeated request makes the job"


def test_a_refused_repetition_leaves_the_accepted_job(servers: list[Server]) -> None:
    primary, replica = servers
    settings = _waiting_for_one(primary)
    job, _ = put_in(settings, a_submission(idempotency=ONCE))
    waiters = on_store(settings, lambda store: store.add_waiter(job, 0))
    replica.kill()
    with pytest.raises(ServiceUnavailable, match="so it was not accepted"):
        put_in(settings, a_submission(idempotency=ONCE))
    assert look(settings, job).id == job.id
    assert on_store(settings, lambda store: store.add_waiter(job, 0)) == waiters


def test_a_submission_that_another_joined_is_not_taken_back(servers: list[Server]) -> None:
    """The first request finds too few replicas after a second one has joined its job and was accepted."""
    settings = _waiting_for_one(servers[0])
    job, _ = put_in(settings, a_submission(idempotency=ONCE))
    put_in(settings, a_submission(idempotency=ONCE))
    on_store(settings, lambda store: store._take_back(job, is_new=True))
    assert look(settings, job).id == job.id
    on_store(settings, lambda store: store._take_back(job, is_new=True))
    with pytest.raises(JobNotFound):
        look(settings, job)


def test_doctor_says_that_no_job_is_accepted(servers: list[Server], tmp_path: Path) -> None:
    primary, replica = servers
    settings = Settings(redis=_waiting_for_one(primary), data_dir=tmp_path)
    assert all(found.verdict is not Verdict.WRONG for found in check_redis(settings, []).findings)
    replica.kill()
    wait_until(lambda: _replicas(primary) == 0, "the primary has noticed")
    wrong = [found.message for found in check_redis(settings, []).findings if found.verdict is Verdict.WRONG]
    assert wrong == ["It has 0 connected replicas and 1 must confirm each job: none is accepted."]


def test_the_api_must_wait_longer_than_the_replicas_have() -> None:
    with pytest.raises(ValidationError, match="wait_replicas_timeout_s must be less than api_timeout_s"):
        RedisSettings(wait_replicas=1, wait_replicas_timeout_s=2.5)
