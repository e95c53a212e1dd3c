"""``imagegen api`` as a process: what it says when it starts."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.cli_support import clean_environment
from tests.support.polling import wait_until
from tests.support.redis_server import RunningRedis

OPEN = "The API listens on 0.0.0.0 and needs no key: everyone who reaches it may use it."


@contextmanager
def started(log: Path, port: int, redis_url: str, *more: str) -> Iterator[str]:
    """Run the API until it listens, and yield its log."""
    command = [sys.executable, "-P", "-m", "cli", "api", "--rest_port", str(port), *more]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, env=clean_environment(REDIS_URL=redis_url))
    try:
        wait_until(lambda: "listening on" in log.read_text() or process.poll() is not None, "it listens")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        yield log.read_text()
    finally:
        process.kill()
        process.wait()


def key_file(folder: Path, mode: int) -> Path:
    path = folder / "keys"
    path.write_text("a-key\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("address", "mode", "warns_of"),
    [
        ("127.0.0.1", None, None),
        ("0.0.0.0", None, OPEN),
        ("0.0.0.0", 0o600, None),
        ("127.0.0.1", 0o644, "Every user of this machine can read the keys in "),
        ("127.0.0.1", 0o646, "Every user of this machine can change the keys in "),
    ],
)
def test_the_start_warns_of_what_lets_others_in(
    tmp_path: Path, free_port: int, redis_server: RunningRedis, address: str, mode: int | None, warns_of: str | None
) -> None:
    keys = [] if mode is None else ["--api_key_file", str(key_file(tmp_path, mode))]
    with started(
        tmp_path / "log", free_port, redis_server.settings.url or "", "--rest_bind_address", address, *keys
    ) as log:
        warnings = [line for line in log.splitlines() if " WARNING " in line]
    assert len(warnings) == (0 if warns_of is None else 1), log
    assert warns_of is None or warns_of in warnings[0]
