"""Processes die: the next request, and the one that was running, succeed all the same."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("mortal")
    model = write_graph(folder / "shapes", more='max_resolution: "512x512" default_resolution: "128x128"')
    with serving(folder, "--model_path", str(model)) as running:
        yield running


def _draw(service: Service, **fields: Any) -> str:
    body = {"prompt": "a red circle", "seed": 1, **fields}
    answer = service.http.post("/v3/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["b64_json"])


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"process {pid} is gone")


@pytest.mark.parametrize("which", ["child", "whole worker"])
def test_an_idle_worker_that_is_killed_is_replaced(mortal: Service, which: str) -> None:
    before = _draw(mortal)
    parent, child = mortal.worker_pids()[-2:]
    _kill(child if which == "child" else parent)
    assert _draw(mortal) == before
    wait_until(mortal.is_ready, "ready again")
    assert child not in mortal.worker_pids()


def test_a_running_job_survives_its_worker(mortal: Service) -> None:
    wait_until(mortal.is_ready, "ready")
    long = {"size": "256x256", "num_inference_steps": 40}
    headers = {"Prefer": "respond-async"}
    body = {"prompt": "a red circle", "seed": 1, **long}
    url = mortal.http.post("/v3/images/generations", json=body, headers=headers).json()["urls"]["self"]
    wait_until(lambda: (mortal.http.get(url).json()["step"] or 0) >= 2, "the job runs")
    _kill(mortal.worker_pids()[-1])
    wait_until(lambda: mortal.http.get(url).json()["status"] == "completed", "completed", deadline_s=110)
    job = mortal.http.get(url).json()
    assert (job["attempts"], job["error"], job["progress"]) == (2, None, 100)


def test_the_api_that_is_killed_is_started_again(mortal: Service) -> None:
    (pid,) = [pid for pid, command in mortal.descendants().items() if command.endswith("-m cli api ")]
    _kill(pid)
    wait_until(mortal.is_ready, "ready again")
    assert _draw(mortal)


def test_redis_that_is_killed_comes_back_with_its_jobs(mortal: Service) -> None:
    wait_until(mortal.is_ready, "ready")
    headers = {"Prefer": "respond-async"}
    job = mortal.http.post("/v3/images/generations", json={"prompt": "a star"}, headers=headers).json()
    wait_until(lambda: mortal.http.get(job["urls"]["self"]).json()["status"] == "completed", "completed")
    (pid,) = [pid for pid, command in mortal.descendants().items() if "redis.conf" in command or "-server" in command]
    _kill(pid)
    wait_until(mortal.is_ready, "ready again")
    assert mortal.http.get(job["urls"]["result"]).status_code == 200
    assert _draw(mortal)
