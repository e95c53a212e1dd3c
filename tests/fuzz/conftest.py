"""The service that the fuzzing tests attack."""

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzz_support import attacked
from tests.support.service import Service


@pytest.fixture(autouse=True)
def _the_same_processes_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that it ended no process: neither the API nor a worker nor its child."""
    running = request.getfixturevalue("service") if "service" in request.fixturenames else None
    before = running.descendants() if running else {}
    yield
    assert running is None or running.descendants() == before, f"a process died; see {running.log}"


@pytest.fixture(scope="session")
def service(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with attacked(tmp_path_factory.mktemp("attacked")) as running:
        yield running
