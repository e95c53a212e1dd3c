"""The service's real processes, each kept running as a supervisor would, and each with a network of its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2

import cli.local.tied_process
from cli.commands.worker import worker_command, worker_environment
from cli.local.child_environment import PROJECT_ROOT, child_environment
from cli.local.embedded_redis import prepare
from cli.local.redis_url_check import answers
from config.environment import load_settings
from config.settings import Settings
from graphs.repository.bundled import BUNDLED_MODEL_NAME
from tests.faults.plan import APIS, FATAL_WORDS, WORKERS
from tests.faults.proxy import Proxy
from tests.support.ports import free_port

GRAPH = BUNDLED_MODEL_NAME
STEP_S = 0.06
_LOOK_EVERY_S = 0.05
_RESTART_AFTER_S = 0.3
_READY_WITHIN_S = 600.0


class Part:
    """A process that is started again when it has ended, but not before ``down_until``."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self.down_until = 0.0
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, tied to this process: it never outlives the harness."""
        tied = [sys.executable, "-I", "-S", cli.local.tied_process.__file__, str(os.getpid()), *self._command]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                tied, stdout=output, stderr=subprocess.STDOUT, env=self._environment, cwd=PROJECT_ROOT
            )
        self.starts += 1

    def keep_running(self) -> None:
        """Start it again when it has ended and its pause is over."""
        now = time.monotonic()
        if self.is_running:
            self.down_until = 0.0
        elif not self.down_until:
            self.down_until = now + _RESTART_AFTER_S
        elif now >= self.down_until:
            self.start()

    def signal(self, what: signal.Signals, *, family: bool = False) -> None:
        """Send a signal to it, and to its children if ``family``; to one that has gone nothing happens."""
        for pid in [*(children(self.pid) if family else []), self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Parts:
    """Redis, two workers, two API processes. Each reaches Redis through a proxy; clients reach the APIs through one."""

    def __init__(self, folder: Path, lease_s: float, breaks_after: int | None = None) -> None:
        """``breaks_after``: how many requests a worker's device draws before it breaks."""
        server = prepare(folder / "data")
        self.server, self.redis_url = server, server.url
        self.redis = Part("redis", server.command, dict(os.environ), folder)
        self._folder, self._lease_s = folder, lease_s
        self._breaks_after = breaks_after
        self.proxies = [Proxy(Path(unquote(urlsplit(server.url).path))) for _ in range(WORKERS + APIS)]
        self._ports = [free_port() for _ in range(APIS)]
        self.front = Proxy(*self._ports)
        self.workers: list[Part] = []
        self.apis: list[Part] = []

    @property
    def url(self) -> str:
        """Where clients reach the service."""
        return f"http://127.0.0.1:{self.front.port}"

    async def start(self) -> None:
        self.redis.start()
        await until(lambda: answers(self.server.url), "Redis answers", 30)
        for proxy in (*self.proxies, self.front):
            await proxy.start()
        for number in range(WORKERS):
            settings = self._settings(self.proxies[number])
            environment = worker_environment(settings)
            self.workers.append(Part(f"worker{number}", worker_command("graph"), environment, self._folder))
        for number, port in enumerate(self._ports):
            settings = self._settings(self.proxies[WORKERS + number], port)
            command = [sys.executable, "-P", "-m", "cli", "api"]
            self.apis.append(Part(f"api{number}", command, child_environment(settings), self._folder))
        for part in (*self.workers, *self.apis):
            part.start()

    async def ready(self) -> None:
        """Wait until every API process says that it is ready to serve."""
        async with httpx2.AsyncClient(timeout=5) as http:
            for port in self._ports:
                await self._ready(http, f"http://127.0.0.1:{port}/v2/health/ready")

    async def keep(self) -> None:
        """Keep all of them running, for ever."""
        while True:
            for part in (self.redis, *self.workers, *self.apis):
                part.keep_running()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self) -> None:
        for part in (*self.apis, *self.workers, self.redis):
            part.end()
        for proxy in (*self.proxies, self.front):
            await proxy.stop()

    async def _ready(self, http: httpx2.AsyncClient, url: str) -> None:
        end = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < end:
            with contextlib.suppress(httpx2.TransportError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not ready within {_READY_WITHIN_S} s: {url}")

    def _settings(self, proxy: Proxy, port: int = 8000) -> Settings:
        parts = urlsplit(self.redis_url)
        return load_settings(
            redis={"url": f"redis://:{parts.password}@127.0.0.1:{proxy.port}/0"},
            http={"rest_port": port},
            worker={
                "engine": "simulated",
                "simulated_step_s": STEP_S,
                "simulated_fatal_words": FATAL_WORDS,
                "simulated_breaks_after": self._breaks_after,
            },
            jobs={"lease_s": self._lease_s},
            data_dir=self._folder / "data",
        )


@asynccontextmanager
async def running_parts(folder: Path, lease_s: float, breaks_after: int | None = None) -> AsyncIterator[Parts]:
    """Start everything, keep it running until the block ends, then end it."""
    parts = Parts(folder, lease_s, breaks_after)
    keeper: asyncio.Task[None] | None = None
    try:
        await parts.start()
        keeper = asyncio.create_task(parts.keep())
        await parts.ready()
        yield parts
    finally:
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        await parts.stop()


async def until(condition: Callable[[], bool], what: str, deadline_s: float) -> None:
    """Look again and again until the condition holds."""

    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(_LOOK_EVERY_S)


def children(pid: int) -> list[int]:
    """The processes that this one has started, from /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(folder.name))
    return found
