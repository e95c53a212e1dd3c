"""From the request to the step: API and worker write JSON only, with the same ids, and never a prompt or a key."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.settings import RedisSettings
from tests.api.api_support import PNG
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.redis_server import running_redis

ROOT = Path(__file__).parents[2]
PROMPT, KEY = "a walrus that no log may contain", "key-that-no-log-may-contain"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Parts:
    """An API and a worker, each with a file of its lines."""

    http: httpx2.Client
    folder: Path
    worker: "subprocess.Popen[bytes]"

    def lines(self, part: str) -> list[dict[str, Any]]:
        """All of a part's lines; a line that is no JSON fails."""
        return [json.loads(line) for line in (self.folder / part).read_text().splitlines()]

    def of(self, part: str, **wanted: object) -> list[dict[str, Any]]:
        return [line for line in self.lines(part) if wanted.items() <= line.items()]


@contextmanager
def started(folder: Path, redis: RedisSettings, part: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": str(redis.url),
        "IMAGEGEN_LOG__LEVEL": "DEBUG",
        "IMAGEGEN_WORKER__ENGINE": "simulated",
        "IMAGEGEN_HTTP__API_KEY": KEY,
    }
    command = [sys.executable, "-P", "-m", "cli", part, "--log_format", "json", *arguments]
    with (folder / part).open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder, port = tmp_path_factory.mktemp("parts"), free_port()
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder / "redis")).settings
        worker = stack.enter_context(started(folder, redis, "worker"))
        stack.enter_context(started(folder, redis, "api", "--rest_port", str(port)))
        http = stack.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=AUTHORIZED))

        def is_ready() -> bool:
            try:
                return http.get("/v2/health/ready").status_code == 200
            except httpx2.TransportError:
                return False

        wait_until(is_ready, "ready")
        yield Parts(http, folder, worker)


def test_a_request_is_followed_to_its_steps(parts: Parts) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 3}
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-Id": "mine-1", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    answer = parts.http.post("/v3/images/generations", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    job_id = answer.headers["x-imagegen-job-id"]
    known = {"request_id": "mine-1", "trace_id": trace_id, "job_id": job_id, "graph": "demo"}

    wait_until(
        lambda: bool(parts.of("worker", **known, message=f"{job_id} completed in 0.06 s")), "logged by the worker"
    )
    of_worker = parts.of("worker", **known, attempt=1)
    assert [line["message"] for line in of_worker if line["message"].startswith("step")] == [
        "step 1 of 3",
        "step 2 of 3",
        "step 3 of 3",
    ]
    wait_until(lambda: bool(parts.of("api", **known, status=200)), "the access line")
    (access,) = parts.of("api", **known, logger="api.access")
    assert (access["method"], access["route"], access["status"]) == ("POST", "/v3/images/generations", 200)
    assert 0.06 <= access["duration_s"] < 60
    assert parts.of("api", **known, message=f"{job_id} accepted")


def test_an_id_is_made_where_none_is_given(parts: Parts) -> None:
    answer = parts.http.post(
        "/v1/images/edits", data={"prompt": PROMPT, "response_format": "url"}, files={"image": PNG}
    )
    assert answer.status_code == 200, answer.text
    made = answer.headers["x-request-id"]
    assert made.startswith("req_")
    wait_until(lambda: bool(parts.of("worker", request_id=made)), "logged by the worker")
    image = parts.http.get(answer.json()["data"][0]["url"])
    assert image.status_code == 200
    files = "/v1/images/files/{token}.{suffix}"
    wait_until(lambda: bool(parts.of("api", request_id=image.headers["x-request-id"], route=files)), "access line")


def test_the_death_of_a_child_is_logged_with_its_job(parts: Parts) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 100}
    answer = parts.http.post(
        "/v3/images/jobs", json=body, headers={"X-Request-Id": "mine-2", "Prefer": "respond-async"}
    )
    job_id = answer.json()["id"]
    wait_until(lambda: bool(parts.of("worker", job_id=job_id, message="step 2 of 100")), "it runs")
    (child,) = Path(f"/proc/{parts.worker.pid}/task/{parts.worker.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    wait_until(lambda: bool(parts.of("worker", job_id=job_id, request_id="mine-2", attempt=2)), "its second attempt")
    assert parts.of("worker", job_id=job_id, graph="demo", level="ERROR", logger="workers.process.supervision")
    parts.http.post(f"/v3/images/jobs/{job_id}/cancel")


def test_no_prompt_and_no_key_is_in_any_line(parts: Parts) -> None:
    parts.http.post("/v3/images/generations", json={"prompt": PROMPT, "size": "1x1"})
    parts.http.post("/v3/images/generations", json={"prompt": PROMPT, "nonsense": PROMPT})
    parts.http.get("/v3/models", headers={"Authorization": f"Bearer {KEY}2"})
    for part in ("api", "worker"):
        text = (parts.folder / part).read_text()
        assert text
        assert "walrus" not in text
        assert KEY not in text
        for line in parts.lines(part):
            assert {"time", "level", "logger", "message"} <= line.keys()
