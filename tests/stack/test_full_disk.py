"""Redis on a disk that is full: the sentences of the API and of doctor, and what becomes of jobs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.checks.redis_check import check_redis
from tests.cli.checks.check_support import only, settings_for
from tests.support.full_disk import fill, mounted
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis, running_redis
from tests.support.service import Service, serving

BODY = {"prompt": "a red circle", "size": "128x128"}
SAYS = "cannot write to its disk"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    with mounted(tmp_path / "disk", "4m") as folder:
        yield folder


def _refusal(service: Service) -> str:
    answer = service.http.post("/v3/images/jobs", json=BODY)
    return answer.json()["error"]["message"] if answer.status_code == 503 else ""


def test_a_full_disk_is_named_and_loses_no_job(redis_processes: None, small_disk: Path, tmp_path: Path) -> None:
    with running_redis(small_disk / "redis") as redis:
        environment = {"REDIS_URL": str(redis.settings.url), "IMAGEGEN_WORKER__ENGINE": "simulated"}
        with serving(tmp_path / "run", environment=environment) as service:
            fill(small_disk / "other")
            wait_until(lambda: SAYS in _refusal(service), "refused for its disk")
            probe = service.http.get("/v2/health/ready")
            assert (probe.status_code, SAYS in probe.text) == (503, True), probe.text
            _assert_doctor_says_it(redis, tmp_path)
            accepted = [job["id"] for job in service.http.get("/v3/images/jobs").json()["data"]]
            (small_disk / "other").unlink()
            wait_until(lambda: service.is_ready() and not _refusal(service), "ready again")
            wait_until(lambda: {_status(service, job_id) for job_id in accepted} == {"completed"}, "all completed")


def _status(service: Service, job_id: str) -> str:
    return str(service.http.get(f"/v3/images/jobs/{job_id}").json()["status"])


def _assert_doctor_says_it(redis: RunningRedis, tmp_path: Path) -> None:
    _, text = only(check_redis(settings_for(tmp_path, redis.settings.url), []).findings)
    assert SAYS in text
    assert "Make room there" in text
