"""Single workers and API processes on a Redis of the test's own, as somebody starts them who runs them apart."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from config.settings import RedisSettings, Settings
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import GRAPH, on_store
from workers.jobs.broker import make_celery, wake_worker

_DEADLINE_S = 60.0
# The last that an API process says before it serves.
_STARTED = "listening on"


class Process:
    """A process of the service, with its log."""

    def __init__(self, *command: str, log: Path, pass_fds: tuple[int, ...] = (), **environment: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def send_to_all(self, number: signal.Signals) -> None:
        """To the whole group, as a terminal or systemd does."""
        os.killpg(self.pid, number)

    def children(self) -> list[int]:
        """The pids below it."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def code(self) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(_DEADLINE_S)

    def kill(self) -> None:
        if not self.ended:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def a_worker(
    redis: RedisSettings,
    folder: Path,
    step_s: float = 0.02,
    limit_s: int = 30,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """A worker with the simulated engine that is ready; ``limit_s``: what a running job may take when it is to stop."""
    before = _ready(redis)
    process = Process(
        "worker",
        log=folder / f"worker-{len(list(folder.glob('worker-*')))}.log",
        REDIS_URL=redis.url or "",
        IMAGEGEN_REDIS__PREFIX=redis.prefix,
        IMAGEGEN_WORKER__ENGINE="simulated",
        IMAGEGEN_WORKER__SIMULATED_STEP_S=str(step_s),
        IMAGEGEN_WORKER__SHUTDOWN_TIMEOUT_S=str(limit_s),
        pass_fds=(),
        **(environment or {}),
    )
    try:
        wait_until(lambda: _alive(process) and _ready(redis) > before, deadline_s=_DEADLINE_S)
        yield process
    finally:
        process.kill()


@contextmanager
def an_api(
    redis: RedisSettings, folder: Path, port: int, *arguments: str, pass_fds: tuple[int, ...] = (), **environment: str
) -> Iterator[Process]:
    """An API process that listens."""
    log = folder / f"api-{len(list(folder.glob('api-*')))}.log"
    where = {"REDIS_URL": redis.url or "", "IMAGEGEN_REDIS__PREFIX": redis.prefix}
    command = ("api", "--rest_port", str(port), *arguments)
    process = Process(*command, log=log, pass_fds=pass_fds, **where, **environment)
    try:
        wait_until(lambda: _alive(process) and _STARTED in log.read_text(), deadline_s=_DEADLINE_S)
        yield process
    finally:
        process.kill()


def wake(redis: RedisSettings) -> None:
    """Send the message that makes a worker take the next job."""
    wake_worker(make_celery(Settings(redis=redis)), GRAPH)


def ready_workers(redis: RedisSettings) -> int:
    return _ready(redis)


def _ready(redis: RedisSettings) -> int:
    return sum(worker.ready for worker in on_store(redis, lambda store: store.workers()))


def _alive(process: Process) -> bool:
    assert not process.ended, process.log.read_text()
    return True
