"""A stop signal that every process of ``imagegen serve`` gets at once, as systemd and a terminal send it."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.polling import wait_until
from tests.support.service import Service, serving, write_graph


# What a process ignores, the processes that it starts ignore too: nohup is such a start.
@pytest.fixture(autouse=True)
def _sighup_is_not_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


GENERATIONS = "/v3/images/generations"
# The second picture waits in the queue while the first is drawn (12 steps each).
SLOW = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_waiting_clients_get_their_images_and_nothing_is_lost(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT goes to the process group of a terminal, which the processes below ``imagegen serve`` are not in."""
    arguments = ("--model_path", str(write_graph(tmp_path / "shapes")))
    answers: list[int] = []
    with serving(tmp_path, *arguments, environment=SLOW) as service:
        clients = [threading.Thread(target=_ask, args=(service.url, answers)) for _ in range(2)]
        for client in clients:
            client.start()
        wait_until(lambda: _counts(service) == (1, 1), "one job runs and one waits")
        later = service.http.post(GENERATIONS, json={"prompt": "later"}, headers={"Prefer": "respond-async"}).json()
        pids = service.descendants()
        _signal([service.process.pid, *(pids if number != signal.SIGINT else ())], number)
        for client in clients:
            client.join(60)
        assert answers == [200, 200]
        assert service.process.wait(60) == 0
        service.http.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    said = service.log.read_text()
    assert "Traceback" not in said and "is killed" not in said and "starting it again" not in said
    if number == signal.SIGTERM:  # a second start takes long, and once shows that Redis has kept its data
        with serving(tmp_path, *arguments, environment=SLOW) as again:
            job = f"/v3/images/jobs/{later['id']}"
            wait_until(lambda: again.http.get(job).json()["status"] == "completed", "the last job")


def _ask(url: str, answers: list[int]) -> None:
    answers.append(httpx2.post(f"{url}{GENERATIONS}", json={"prompt": "a star"}, timeout=60).status_code)


def _counts(service: Service) -> tuple[int, int]:
    """Return how many jobs run and how many wait."""
    samples = dict(line.rsplit(" ", 1) for line in service.http.get("/metrics").text.splitlines() if line[:1] != "#")

    def total(name: str) -> int:
        return int(sum(float(value) for key, value in samples.items() if key.startswith(name + "{")))

    return total("imagegen_jobs_running"), total("imagegen_jobs_queued")


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
