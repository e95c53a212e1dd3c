"""Fixtures of the tests of the command line."""

import socket
from collections.abc import Iterator

import pytest

from cli.local.supervisor import Backoff, Supervisor


@pytest.fixture
def supervisor(processes: None) -> Iterator[Supervisor]:
    """A supervisor that restarts at once, and is stopped at the end."""
    made = Supervisor(Backoff(first_s=0.2, longest_s=0.8, steady_s=60))
    yield made
    made.stop()


@pytest.fixture
def port_in_use() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
