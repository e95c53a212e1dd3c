"""Tests are marked by their fixtures, and the guard of the fast tests refuses what they may not do."""

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.needs import Guard, NeedsMore

HERE = "test_x"


@pytest.fixture
def own_guard() -> Guard:
    """A guard that is asked directly and is no hook of the interpreter."""
    return Guard()


def test_a_test_without_a_declaring_fixture_is_fast(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("fast") is not None


def test_a_test_that_declares_processes_is_marked(processes: None, request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("process") is not None
    assert request.node.get_closest_marker("fast") is None
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


@pytest.mark.parametrize(
    ("event", "arguments", "says"),
    [
        ("subprocess.Popen", ("redis-server", [], None, None), "request the fixture `processes`"),
        ("os.fork", (), "request the fixture `processes`"),
        ("import", ("openvino_genai", None, None, None, None), "request the fixture `openvino_runtime`"),
        ("socket.connect", (None, ("192.0.2.1", 80)), "request `redis_server` or `processes`"),
    ],
)
def test_what_a_fast_test_may_not_do_is_refused(
    own_guard: Guard, event: str, arguments: tuple[object, ...], says: str
) -> None:
    with pytest.raises(NeedsMore, match=says), own_guard.watching(HERE):
        own_guard(event, arguments)


def test_a_refusal_that_the_code_catches_still_fails_the_test(own_guard: Guard) -> None:
    def catching(call: Callable[[], None]) -> None:
        with pytest.raises(NeedsMore):
            call()

    with pytest.raises(NeedsMore, match=r"^test_x starts a process"), own_guard.watching(HERE):
        catching(lambda: own_guard("os.fork", ()))


def test_a_server_of_the_same_process_may_be_connected_to(own_guard: Guard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, own_guard.watching(HERE):
        own_guard("socket.connect", (None, listening.getsockname()))
        own_guard("import", ("openvino_pretender", None, None, None, None))
