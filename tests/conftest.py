"""Fixtures for all tests: what they need beyond Python. Generated examples are the same in every run."""

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from config.settings import RedisSettings
from graphs.families.family import Family
from tests.support.distribution import (
    pytest_runtest_logreport,
    pytest_testnodedown,
    pytest_xdist_make_scheduler,
    sort_slow_first,
)
from tests.support.needs import FAST, guard, is_without_fast_tests, mark
from tests.support.redis_server import RunningRedis, running_redis
from tests.support.service_logs import last_lines

__all__ = ["pytest_runtest_logreport", "pytest_testnodedown", "pytest_xdist_make_scheduler"]

settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")
# Tests speak plain HTTP to this machine, but every client reads all public certificates first: 20 ms of processor time
# a client, in the processes that tests start too. This folder holds none.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent / "support")


def pytest_configure() -> None:
    """Let processes that tests start be ended by SIGINT, also if a shell started pytest in the background.

    Such a shell makes it ignore SIGINT, and child processes inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, where only fast tests are asked for, what has none; its imports take longer than many tests."""
    return True if config.option.markexpr == FAST and is_without_fast_tests(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs (before ``-m`` selects), and put slow files first."""
    for item in items:
        mark(item)
    sort_slow_first(items)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a case by its model family; pytest would number it."""
    return str(val) if isinstance(val, Family) else None


def pytest_collection_finish() -> None:
    """Exempt the collected tests and all imported modules from the garbage collector, which need not look at them."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last lines of the services that run beside a test that failed."""
    report = yield
    if report.failed:
        report.sections += last_lines()
    return report


@pytest.fixture(autouse=True)
def _needs_nothing_else(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold a fast test to its marker."""
    if request.node.get_closest_marker(FAST) is None:
        yield
        return
    with guard.watching(request.node.nodeid):
        yield


@pytest.fixture(scope="session")
def processes() -> None:
    """Declare that a test starts processes."""


@pytest.fixture(scope="session")
def openvino_runtime() -> None:
    """Declare that a test loads OpenVINO, and mostly a model with it."""


@pytest.fixture(scope="session")
def long_computation() -> None:
    """Declare that a test needs only Python, but takes more than a second."""


@pytest.fixture(scope="session")
def redis_processes() -> None:
    """Declare that a test starts a Redis of its own."""


@pytest.fixture(scope="session")
def redis_server(redis_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """One server for the whole run; earlier tests may have left keys in it."""
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis_settings(redis_server: RunningRedis) -> RedisSettings:
    """The server, emptied for this test."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.settings
