"""A service whose Redis is watched by sentinels: it draws, and goes on with the replica when the primary is killed."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from cli.checks.finding import Finding, Verdict
from cli.checks.redis_check import check_redis
from cli.errors import UserError
from cli.local.redis_url_check import check_url
from config.settings import Settings
from graphs.errors import ConfigurationError, ServiceUnavailable
from tests.support.polling import wait_until
from tests.support.sentinels import NAME, SENTINEL_PASSWORD, Watched, watched_redis
from tests.support.service import Service, serving
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.layout import check_layout_at_start

pytestmark = pytest.mark.usefixtures("processes")

JOBS = 24


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_redis(tmp_path_factory.mktemp("watched")) as watched:
        yield watched


@pytest.fixture(scope="module")
def service(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {"REDIS_URL": watched.url(), "IMAGEGEN_WORKER__ENGINE": "simulated"}
    with serving(tmp_path_factory.mktemp("service"), environment=environment) as running:
        yield running


def _of_sentinels(watched: Watched, tmp_path: Path) -> Finding:
    found = check_redis(Settings(redis=watched.settings(), data_dir=tmp_path), []).findings
    (finding,) = [one for one in found if one.area == "sentinels"]
    return finding


def test_doctor_says_who_is_the_primary_and_who_watches_it(watched: Watched, tmp_path: Path) -> None:
    """Sentinels that are short of processor time may think for a moment that others are down."""

    def says() -> bool:
        finding, primary = _of_sentinels(watched, tmp_path), watched.primary()
        return (finding.verdict, finding.message) == (
            Verdict.OK,
            f"The primary {NAME!r} is {primary.host}:{primary.port} with 1 replica; 3 of 3 sentinels in REDIS_URL "
            "answer, 3 of 3 can be used, and 2 must agree on a failover.",
        )

    wait_until(says, "doctor says it")


def test_a_name_that_no_sentinel_knows_is_said(watched: Watched, tmp_path: Path) -> None:
    settings = watched.settings("other")
    with pytest.raises(UserError, match="know no primary with the name 'other'; correct the name in REDIS_URL"):
        check_url(settings)
    with pytest.raises(ConfigurationError, match=f"know no primary with the name 'other', only {NAME!r}"):
        check_layout_at_start(settings)
    (finding,) = check_redis(Settings(redis=settings, data_dir=tmp_path), []).findings
    assert (finding.verdict, finding.remedy) == (Verdict.WRONG, "Correct the name in REDIS_URL.")


def test_an_image_is_drawn(service: Service) -> None:
    assert _draw(service.client(max_retries=5)) > 100


def test_every_accepted_job_ends_when_the_primary_is_killed(watched: Watched, service: Service) -> None:
    accepted = asyncio.run(_submit_while_the_primary_dies(watched, service.url))
    began = time.monotonic()
    assert _draw(service.client(max_retries=5)) > 100, "the next request of the OpenAI client"
    wait_until(lambda: all(_is_completed(service, url) for url in accepted), "every accepted job ends", deadline_s=90)
    print(f"{len(accepted)} accepted jobs ended {time.monotonic() - began:.1f} s after the failover")


def test_a_replica_that_was_the_primary_is_left(watched: Watched) -> None:
    """A connection that stays open while its server becomes a replica is opened anew, and its caller gets no error."""
    client, behind = connect(watched.settings()), watched.primary().client()
    client.hdel("key", "field")
    with behind:
        behind.config_set("replica-read-only", "yes")
        behind.replicaof("127.0.0.1", "1")
        with pytest.raises(ServiceUnavailable), redis_errors():
            client.hdel("key", "field")
        behind.replicaof("NO", "ONE")
    client.hdel("key", "field")
    client.close()


def test_without_a_quorum_nothing_would_take_the_place_of_the_primary(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for sentinel in watched.sentinels[:2]:
        sentinel.kill()
    wait_until(lambda: _of_sentinels(watched, tmp_path).verdict is Verdict.WRONG, "the loss is noticed")
    sentence = f"nly 1 of 3 sentinels of the primary {NAME!r} can be used and 2 must agree, so no replica would take"
    wait_until(lambda: sentence in _of_sentinels(watched, tmp_path).message, "the last one knows")

    def start_warns() -> bool:
        check_layout_at_start(watched.settings())
        return sentence in caplog.text

    wait_until(start_warns, "the start warns")


def test_without_any_sentinel_that_is_said(watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for sentinel in watched.sentinels:
        sentinel.kill()
    with pytest.raises(UserError, match=r"no sentinel answers at 127\.0\.0\.1:") as refused:
        check_url(watched.settings())
    assert SENTINEL_PASSWORD not in str(refused.value)
    check_layout_at_start(watched.settings())
    assert "This process waits for one." in caplog.text
    (finding,) = check_redis(Settings(redis=watched.settings(), data_dir=tmp_path), []).findings
    assert (finding.verdict, finding.remedy) == (Verdict.WRONG, "Start them, or correct REDIS_URL.")


def _draw(client: OpenAI) -> int:
    """Draw an image with a client. Returns the size of its base64."""
    images = client.images.generate(model="demo", prompt="a red circle", size="128x128").data or []
    return len(images[0].b64_json or "")


async def _submit_while_the_primary_dies(watched: Watched, url: str) -> list[str]:
    """Submit jobs all the time, kill the primary after a third of them, and return the accepted ones' addresses."""
    accepted: list[str] = []
    primary = watched.primary()  # the one before the failover: what takes its place must live
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        while len(accepted) < JOBS:
            if len(accepted) == JOBS // 3 and primary.is_running:
                await asyncio.to_thread(primary.kill)
            answer = await client.post(
                "/v3/images/generations",
                json={"prompt": f"a red circle {len(accepted)}", "size": "128x128", "num_inference_steps": 3},
                headers={"Prefer": "respond-async"},
            )
            assert answer.status_code in (202, 503), answer.text
            if answer.status_code == 202:
                accepted.append(answer.json()["urls"]["self"])
    return accepted


def _is_completed(service: Service, url: str) -> bool:
    answer = service.http.get(url)
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200 and answer.json()["status"] == "completed"
