"""Secrets that were typed as options do not stay in the list of processes, and no child has one there."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.cli_support import clean_environment
from tests.security.conftest import ENVIRONMENT, OPTIONS
from tests.support.redis_server import RunningRedis
from tests.support.service import serving, write_graph

SECRET = "key-that-no-one-else-may-see"
pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a process change its arguments"),
]


@contextmanager
def running(*args: str, **environment: str) -> Iterator[int]:
    """Run a command in the background, and yield its pid once it is the command."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", *args], env=clean_environment(**environment), stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
        assert process.poll() is None, "it ended before it was looked at"
    finally:
        process.kill()
        process.wait()


def shown(pid: int) -> str:
    """Return what the list of processes shows of a process, as `ps` reads it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


@pytest.mark.parametrize(
    "typed", [("--api_key", SECRET), (f"--api_key={SECRET}",), (f"--api-key={SECRET}",)], ids=["two", "one", "dashed"]
)
def test_a_typed_key_is_sent_and_is_not_in_the_list(typed: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running("jobs", "watch", "x", *typed, "--url", url) as pid:
            connection, _ = silent.accept()
            with connection:
                assert f"Bearer {SECRET}".encode() in connection.recv(65536)
                assert SECRET not in shown(pid)
                assert shown(pid).endswith(f"--url {url} ")
                assert "*" * len(SECRET) in shown(pid)


def test_the_key_of_the_environment_is_sent_and_is_read_by_this_user_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running("adapters", "list", "--url", url, IMAGEGEN_API_KEY=SECRET) as pid:
            connection, _ = silent.accept()
            with connection:
                assert f"Bearer {SECRET}".encode() in connection.recv(65536)
                assert SECRET not in shown(pid)
                assert Path(f"/proc/{pid}/environ").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("command", [("api", "--rest_port", "0"), ("worker",)], ids=["api", "worker"])
def test_the_password_of_a_typed_redis_url_is_not_in_the_list(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the command waits for it
        place = f"127.0.0.1:{silent.getsockname()[1]}/0"
        options = ("--rest_port", "8999") if command[0] == "api" else ()
        with running(command[0], *options, "--redis_url", f"redis://redis:{SECRET}@{place}") as pid:
            connection, _ = silent.accept()
            with connection:
                assert SECRET not in shown(pid)
                assert f"redis://redis:{'*' * len(SECRET)}@{place}" in shown(pid)


def test_no_process_of_serve_has_a_secret_in_the_list(tmp_path: Path, redis_server: RunningRedis) -> None:
    model = write_graph(tmp_path / "shapes", steps=2, more=OPTIONS)
    url = redis_server.settings.url or ""
    password = url.partition(":")[2].rpartition("@")[0].removeprefix("//:")
    assert len(password) == 48
    secrets = {"API_KEY": SECRET, "IMAGEGEN_WEBHOOKS__SECRET": f"{SECRET}-2", "HF_TOKEN": f"{SECRET}-3"}
    arguments = ("--model_path", str(model), "--redis_url", url)
    with serving(tmp_path, *arguments, environment={**ENVIRONMENT, **secrets}) as service:
        pids = [service.process.pid, *service.descendants()]
        assert len(pids) >= 5  # serve, the API, a worker and its child, the deliveries of webhooks
        for pid in pids:
            assert SECRET not in shown(pid)
            assert password not in shown(pid)
    assert os.environ.get("API_KEY") != SECRET
