"""The services that the security tests attack: with the simulated engine, and with short time limits."""

from collections.abc import Iterator

import pytest

from tests.api.conftest import api, shared_api  # noqa: F401 - fixtures
from tests.support.service import Service, serving, write_graph

OPTIONS = 'max_resolution: "64x64" default_resolution: "32x32"'
ENVIRONMENT = {
    "IMAGEGEN_WORKER__ENGINE": "simulated",
    "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0",
    "IMAGEGEN_DOWNLOADS__OFFLINE": "true",
    "IMAGEGEN_CONNECTIONS__HEADER_TIMEOUT_S": "2",
    "IMAGEGEN_CONNECTIONS__ANSWER_TIMEOUT_S": "2",
}
KEY = "first-key"
OTHER_KEY = "second-key"
# Two large bodies fill what large ones may, and leave room for small ones.
MAX_BODY_BYTES = 8 * 2**20
MAX_BODIES_BYTES = 16 * 2**20
SMALL_REDIS_BYTES = 32 * 2**20


@pytest.fixture(scope="session")
def open_service(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys, as the README starts it."""
    folder = tmp_path_factory.mktemp("open")
    model = write_graph(folder / "shapes", steps=2, more=OPTIONS)
    with serving(folder, "--model_path", str(model), environment=ENVIRONMENT) as service:
        yield service
        assert "Traceback" not in service.log.read_text()


@pytest.fixture(scope="module")
def small_service(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two keys and a Redis of 32 MiB: jobs may take 24 MiB, and one key may keep 12 MiB."""
    folder = tmp_path_factory.mktemp("small")
    model = write_graph(folder / "shapes", steps=2, more=OPTIONS)
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    keys.chmod(0o600)
    environment = {**ENVIRONMENT, "IMAGEGEN_REDIS__MAX_MEMORY_BYTES": str(SMALL_REDIS_BYTES)}
    arguments = ("--model_path", str(model), "--api_key_file", str(keys))
    with serving(folder, *arguments, environment=environment) as service:
        yield service
        assert "Traceback" not in service.log.read_text()


@pytest.fixture(scope="session")
def keyed_service(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two keys and little room for bodies."""
    folder = tmp_path_factory.mktemp("keyed")
    model = write_graph(folder / "shapes", steps=2, more=OPTIONS)
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    keys.chmod(0o600)
    environment = {
        **ENVIRONMENT,
        "IMAGEGEN_HTTP__MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "IMAGEGEN_CONNECTIONS__MAX_BODIES_BYTES": str(MAX_BODIES_BYTES),
        "IMAGEGEN_CONNECTIONS__MAX_OPEN": "64",
    }
    arguments = ("--model_path", str(model), "--api_key_file", str(keys))
    with serving(folder, *arguments, environment=environment) as service:
        yield service
        assert "Traceback" not in service.log.read_text()
