"""What the tests of the command line share: running the command, starting a Redis, waiting with a deadline."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.local.embedded_redis import EmbeddedRedis, prepare, wait_until_answering
from cli.local.supervisor import ChildSpec, Supervisor
from cli.main import run
from tests.support.polling import pause

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**extra: str) -> dict[str, str]:
    """Return an environment without settings, in which the packages can be imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("IMAGEGEN_") and k != "REDIS_URL"}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "dumb", **extra}


def imagegen(*args: str, cwd: Path | None = None, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a process, to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *args],
        env=clean_environment(**extra),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def start_redis(supervisor: Supervisor, data_dir: Path) -> EmbeddedRedis:
    """Start an embedded Redis as the child ``redis`` and wait until it answers."""
    server = prepare(data_dir)
    supervisor.start(ChildSpec("redis", server.command, clean_environment(), 0))
    wait_until_answering(server, lambda: supervisor.is_running("redis"), lambda: pause(0.02))
    return server


def is_gone(pid: int) -> bool:
    """Return whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def imagegen_here(*args: str) -> int:
    """Run the command in this process, which is faster, and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        run(list(args))
    assert isinstance(ended.value.code, int)
    return ended.value.code
