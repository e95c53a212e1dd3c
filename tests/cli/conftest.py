"""Fixtures of the tests of the command line."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.supervisor import Backoff, Supervisor
from tests.cli.cli_support import Command, imagegen_here
from tests.support import ports


@pytest.fixture
def supervisor(processes: None) -> Iterator[Supervisor]:
    """A supervisor with short delays, which is stopped after the test."""
    made = Supervisor(Backoff(first_s=0.2, longest_s=0.8, steady_s=60))
    yield made
    made.stop()


@pytest.fixture
def port_in_use() -> Iterator[int]:
    """A port on which a socket listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    return ports.free_port()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, run in this process: in an empty folder and without settings from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("IMAGEGEN_") or n == "REDIS_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def command(*args: str) -> "subprocess.CompletedProcess[str]":
        code = imagegen_here(*args)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return command
