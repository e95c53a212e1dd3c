"""Further workers for the Redis of a service that a benchmark has started."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from config.settings import RedisSettings
from tests.support.polling import wait_until
from workers.jobs.observe.presence import live_workers
from workers.jobs.redis.keys import Keys


@contextmanager
def more_workers(folder: Path, count: int, environment: Mapping[str, str]) -> Iterator[list[int]]:
    """Run so many further workers, with settings of their own, on the Redis of the service whose data is in ``folder``.

    Yields the pids of their main processes when all are ready, and the service's own worker is.
    """
    url = redis_url_of(folder)
    command = [sys.executable, "-P", "-m", "cli", "worker", "--redis_url", url]
    root = str(Path(__file__).parents[2])
    own = {**os.environ, **environment, "PYTHONPATH": root}
    with (folder / "workers.log").open("wb") as log:
        started = [
            subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True) for _ in range(count)
        ]
        try:
            with redis.Redis.from_url(url) as client:
                wait_until(lambda: _ready(client) == count + 1, f"{count + 1} workers; see {log.name}", deadline_s=300)
            yield [process.pid for process in started]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(60)


def redis_url_of(folder: Path) -> str:
    """Return the address of the Redis that a service with its data in ``folder`` has started."""
    (path,) = folder.glob("data/**/redis.conf")
    config = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if len(line.split()) > 1)
    if "unixsocket" in config:
        return f"unix://:{config['requirepass']}@{quote(json.loads(config['unixsocket']))}?db=0"
    return f"redis://:{config['requirepass']}@127.0.0.1:{config['port']}/0"  # a release before 0.2


def _ready(client: "redis.Redis") -> int:
    stored: Any = client.hgetall(Keys.of(RedisSettings()).workers)
    return sum(worker.ready for worker in live_workers(stored, client.time()[0]))
