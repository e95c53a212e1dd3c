"""Models that are added, changed, broken and removed while the service draws."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph

SMALL = 'max_resolution: "128x128" default_resolution: "64x64"'
BODY = {"prompt": "a red circle", "size": "64x64"}


class Disk:
    """The models of a service, as an operator changes them."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.json"
        self._folder = folder
        self._steps = itertools.count(2)
        self.edit("steady")
        self.edit("other")
        self.list_models("steady")

    def list_models(self, *names: str) -> None:
        entries = [{"name": name, "base_path": name} for name in names]
        self.config.write_text(json.dumps({"model_config_list": [], "mediapipe_config_list": entries}))

    def edit(self, name: str) -> int:
        """Give the model another number of steps, which it returns."""
        steps = next(self._steps)
        write_graph(self._folder / name, steps=steps, more=SMALL)
        return steps

    def break_graph(self, name: str) -> None:
        (self._folder / name / "graph.pbtxt").write_text('node: { calculator: "ImageGenCalculator" oops: 1 }')


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "models").mkdir()
    return Disk(tmp_path / "models")


@pytest.fixture
def service(disk: Disk, tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "service", "--config_path", str(disk.config)) as running:
        yield running


def _models(service: Service) -> set[str]:
    answer = service.http.get("/v3/models").json()
    return {model["id"] for model in answer["data"] if model["kind"] == "base" and model["alias_of"] is None}


def _digest(service: Service, model: str) -> str:
    return str(service.http.get(f"/v3/models/{model}").json()["digest"])


def _reload(service: Service) -> httpx2.Response:
    return service.http.post("/v1/config/reload", timeout=120)


def _states(answer: httpx2.Response) -> dict[str, str]:
    return {name: model["model_version_status"][0]["state"] for name, model in answer.json().items()}


def _steps(service: Service, model: str) -> int:
    """Return the number of steps of a job of this model."""
    job = service.http.post("/v3/images/jobs", json={**BODY, "model": model}).json()
    wait_until(lambda: service.http.get(f"/v3/images/jobs/{job['id']}").json()["status"] == "completed")
    return int(service.http.get(f"/v3/images/jobs/{job['id']}").json()["total_steps"])


def test_models_are_followed_without_a_restart(disk: Disk, service: Service) -> None:
    assert _models(service) == {"steady"}
    same = _reload(service)
    assert (same.status_code, _states(same)) == (200, {"steady": "AVAILABLE"})

    disk.list_models("steady", "other")
    added = _reload(service)
    assert (added.status_code, _states(added)) == (201, {"other": "AVAILABLE", "steady": "AVAILABLE"})
    assert _models(service) == {"steady", "other"}
    assert service.http.post("/v3/images/generations", json={**BODY, "model": "other"}).status_code == 200

    before = _digest(service, "other")
    steps = disk.edit("other")  # Model Server would wait for a change of config.json
    wait_until(lambda: _digest(service, "other") != before, "the edited graph.pbtxt is served")
    assert _steps(service, "other") == steps
    wait_until(lambda: len(service.worker_pids()) == 4, "the former worker of the edited graph has ended")

    disk.break_graph("other")
    broken = _reload(service)
    assert broken.status_code == 412 and broken.json() == {
        "error": "Reloading models failed. The log of the server says why."
    }
    assert "the model 'other' stays as it was, since its files cannot be used" in service.log.read_text()
    assert _steps(service, "other") == steps
    disk.config.write_text('{"mediapipe')
    assert _reload(service).json() == {"error": "Reloading config file failed. The log of the server says why."}
    assert _steps(service, "steady")

    disk.list_models("steady")
    wait_until(lambda: _models(service) == {"steady"}, "the removed model is listed no longer")
    gone = service.http.post("/v3/images/generations", json={**BODY, "model": "other"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
    wait_until(lambda: len(service.worker_pids()) == 2, "the worker of the removed graph has ended")


class Clients:
    """Clients that draw without a pause, and what they were answered."""

    def __init__(self, service: Service, count: int) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.jobs: list[str] = []
        self._service = service
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._running = [self._pool.submit(self._run, number) for number in range(count)]

    def end(self) -> None:
        self._ending.set()
        for one in self._running:
            one.result(120)
        self._pool.shutdown()

    def _run(self, number: int) -> None:
        """Clients with an even number wait for their images, the others submit jobs and leave them."""
        with httpx2.Client(base_url=self._service.url, timeout=120) as http:
            while not self._ending.is_set():
                path = "/v3/images/jobs" if number % 2 else "/v3/images/generations"
                answer = http.post(path, json={**BODY, "model": "steady"})
                self.answers[f"{path} {answer.status_code}"] += 1
                if answer.status_code not in (200, 202):
                    self.failures.append(answer.text)
                elif number % 2:
                    self.jobs.append(str(answer.json()["id"]))
                    self._ending.wait(0.2)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_twenty_changes_under_load_lose_nothing(disk: Disk, service: Service) -> None:
    """No request fails for a model that is there before and after, and every job that was accepted is drawn."""
    clients = Clients(service, 4)
    of_other: list[str] = []

    def submit_to_other() -> None:
        answer = service.http.post("/v3/images/jobs", json={**BODY, "model": "other"})
        assert answer.status_code == 202, answer.text
        of_other.append(str(answer.json()["id"]))

    def change(number: int) -> None:
        if number % 5 == 0:
            disk.list_models("steady", "other")
            wait_until(lambda: _models(service) == {"steady", "other"}, "other is listed")
            submit_to_other()
        elif number % 5 == 1:
            former = {name: _digest(service, name) for name in ("steady", "other")}
            disk.edit("steady")
            disk.edit("other")
            wait_until(lambda: all(_digest(service, n) != d for n, d in former.items()), "both edits are served")
            submit_to_other()
        elif number % 5 == 2:
            said = service.log.read_text().count("'other' stays as it was")
            disk.break_graph("other")
            wait_until(lambda: service.log.read_text().count("'other' stays as it was") > said, "the log says it")
            submit_to_other()
        elif number % 5 == 3:
            disk.config.write_text("{")
            assert _reload(service).status_code == 412
            submit_to_other()
        else:
            submit_to_other()
            disk.edit("other")
            disk.list_models("steady")
            wait_until(lambda: _models(service) == {"steady"}, "other is not listed")

    try:
        for number in range(20):
            change(number)
    finally:
        clients.end()
    assert not clients.failures, clients.failures[:3]
    assert sum(clients.answers.values()) > 100, clients.answers

    def status(job_id: str) -> Any:
        return service.http.get(f"/v3/images/jobs/{job_id}").json()["status"]

    for job_id in (*clients.jobs, *of_other):
        wait_until(lambda job_id=job_id: status(job_id) not in ("queued", "in_progress"), job_id)  # type: ignore[misc]
    ends = Counter(status(job_id) for job_id in (*clients.jobs, *of_other))
    assert set(ends) == {"completed"}, ends
