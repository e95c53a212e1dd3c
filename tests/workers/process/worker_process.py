"""A real worker process, as ``imagegen worker`` starts it, without the API."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery

from cli.local.child_environment import PROJECT_ROOT, child_environment
from config.settings import JobSettings, RedisSettings, RepositorySettings, Settings, WorkerSettings
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import GRAPH, on_store
from workers.jobs.broker import make_celery, wake_worker

_START_S = 180


class WorkerProcess:
    """A running worker."""

    def __init__(self, redis: RedisSettings, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log
        self._redis = redis
        self._celery: Celery = make_celery(Settings(redis=redis))

    def is_ready(self) -> bool:
        """Return whether its child has loaded."""
        assert self.process.poll() is None, self.log.read_text()
        workers = on_store(self._redis, lambda store: store.workers())
        return any(worker.ready and f"/{self.process.pid}/" in worker.name for worker in workers)

    def wake(self) -> None:
        """Send it the message to run the next job."""
        wake_worker(self._celery, GRAPH)

    def child(self) -> int:
        """Return the pid of its child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return max(int(pid) for pid in children)


@contextmanager
def running_worker(
    redis: RedisSettings,
    log: Path,
    jobs: JobSettings,
    step_s: float = 0.05,
    worker: WorkerSettings | None = None,
    model: Path | None = None,
) -> Iterator[WorkerProcess]:
    """Start the process and wait until it is ready; kill it at the end.

    Without ``worker``, its engine is simulated; without ``model``, it serves the bundled one.
    """
    simulated = WorkerSettings(engine="simulated", simulated_step_s=step_s)
    chosen = (worker or simulated).model_copy(update={"graph": GRAPH})
    repository = RepositorySettings(model_path=model, model_name=GRAPH) if model else RepositorySettings()
    environment = child_environment(Settings(redis=redis, jobs=jobs, worker=chosen, repository=repository))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker"], env=environment, cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        running = WorkerProcess(redis, process, log)
        wait_until(running.is_ready, deadline_s=_START_S)
        yield running
    finally:
        process.kill()
        process.wait()
