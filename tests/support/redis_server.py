"""A real Redis (or Valkey) for tests, started with the project's own launcher."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

import cli.local.tied_process
from cli.local.embedded_redis import prepare, wait_until_answering
from config.settings import RedisSettings
from tests.support.polling import pause


@dataclass(frozen=True)
class RunningRedis:
    """A server in the background: how to reach it, and its process."""

    settings: RedisSettings
    process: subprocess.Popen[bytes]

    def client(self) -> "redis.Redis":
        """A client of one's own, to look behind the job store."""
        return redis.Redis.from_url(self.settings.url or "")

    def kill(self) -> None:
        """End it at once; a second time is harmless."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_redis(data_dir: Path, max_memory_bytes: int = 0, options: Sequence[str] = ()) -> Iterator[RunningRedis]:
    """Start a server that keeps its data in ``data_dir``; it is killed at the end, and with this process.

    ``options`` are of its command line, which win over its configuration.
    """
    server = prepare(data_dir, max_memory_bytes)
    tied = [sys.executable, "-I", "-S", cli.local.tied_process.__file__, str(os.getpid()), *server.command, *options]
    process = subprocess.Popen(tied, stdout=subprocess.DEVNULL)
    running = RunningRedis(RedisSettings(url=server.url), process)
    try:
        wait_until_answering(server, lambda: process.poll() is None, lambda: pause(0.02))
        yield running
    finally:
        running.kill()
