"""One script, several versions of the openai package: see tests/sdk/exercise.py.

Here the newest, the one of this environment; ``make test-sdk`` names the interpreters of the older ones.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import Service, serving, write_graph

# The newest package is driven by test_openai_client.py in every run; `make test-sdk` runs this file whole.
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
EXERCISE = ROOT / "tests" / "sdk" / "exercise.py"
PYTHONS = os.environ.get("SDK_PYTHONS", sys.executable).split()
SIMULATED = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.02"}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("simulated")
    model = write_graph(folder / "shapes", more='default_resolution: "128x128"')
    slow = {**SIMULATED, "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.05"}
    with serving(folder, "--model_path", str(model), environment=slow) as running:
        yield running


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in whose queue one job can wait."""
    slow = {**SIMULATED, "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0.2", "IMAGEGEN_JOBS__MAX_QUEUED": "1"}
    with serving(tmp_path_factory.mktemp("full"), environment=slow) as running:
        yield running


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API whose Redis is away."""
    port, log = free_port(), tmp_path_factory.mktemp("dead") / "api.log"
    redis_url = f"redis://127.0.0.1:{free_port()}/0"
    command = [sys.executable, "-m", "cli", "api", "--rest_port", str(port), "--redis_url", redis_url]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _is_alive(url), f"alive; see {log}")
            yield url
        finally:
            process.terminate()


def _is_alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/v2/health/live").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).parents[1].name)
def test_the_package_can_do_all_that_it_offers(python: str, simulated: Service, full: Service, dead: str) -> None:
    command = [str(ROOT / python), str(EXERCISE), simulated.url, full.url, dead]
    # -P is not in every Python: the script's folder holds nothing that could be imported by mistake.
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, env={"PATH": os.environ["PATH"]})
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [ended.stdout.strip()] and ended.stdout.startswith("openai ")
