"""The processes of one ``imagegen serve``: started in order, watched, and stopped in the other order."""

import sys
import threading
import time
from contextlib import closing

import typer
from rich.console import Console
from rich.markup import escape

from cli.commands.worker import child_environment
from cli.errors import ChildRefused
from cli.local.announcement import announcement, base_url
from cli.local.readiness_probe import ReadinessProbe
from cli.local.redis_server import check_url, own_memory_bytes, prepare, wait_until_answering
from cli.local.stop_signals import StopSignals
from cli.local.supervisor import ChildSpec, Supervisor
from config.settings import Settings
from workers.jobs.redis.layout import check_layout_at_start

_TICK_S = 0.1
_REMIND_EVERY_S = 30.0
# What a child may take beyond its own graceful shutdown before its group is killed.
_STOP_MARGIN_S = 15
_REDIS_STOPS_S = 30
# Stopped in this order from the right: the API, then the workers, Redis last.
_REDIS, _WORKERS, _API = 0, 1, 2


class _Stopped(Exception):
    """A signal said stop."""


class Service:
    """Redis (unless there is one), a worker for each graph, one for webhooks if they are signed, and the API.

    ``lock`` is the descriptor of the data folder's lock.
    """

    def __init__(self, settings: Settings, graphs: list[str], lock: int, signals: StopSignals) -> None:
        self._settings, self._graphs, self._lock, self._signals = settings, graphs, lock, signals
        self._supervisor = Supervisor()
        self._console = Console(stderr=True, highlight=False)
        self._pause = threading.Event()

    def run(self) -> None:
        """Start all, say so when it is ready, and watch over it until a signal comes."""
        try:
            self._start_redis()
            check_layout_at_start(self._settings.redis)
            self._start_the_rest()
            self._wait_until_ready()
            typer.echo(announcement(self._settings.http, self._graphs))
            sys.stdout.flush()
            while True:
                self._watch()
        except _Stopped:
            self._console.print(
                "stopping (Ctrl-C again does not wait); what is not done goes on at the next start", soft_wrap=True
            )
        except ChildRefused as error:
            raise typer.Exit(2) from error
        finally:
            seen = self._signals.count
            self._supervisor.stop(hurry=lambda: self._signals.count > seen, told=self._say_what_is_waited_for)

    def _say_what_is_waited_for(self, stage: int) -> None:
        http, worker = self._settings.http, self._settings.worker
        self._console.print(
            {
                _API: f"waiting for the API: requests that wait are answered (at most {http.shutdown_timeout_s} s)",
                _WORKERS: f"waiting for the workers: running jobs are finished (at most {worker.shutdown_timeout_s} s)",
                _REDIS: "waiting for Redis: it writes its data to disk",
            }[stage]
        )

    def _watch(self) -> None:
        if self._signals.count:
            raise _Stopped
        self._supervisor.tick()
        self._pause.wait(_TICK_S)

    def _start_redis(self) -> None:
        if self._settings.redis.url:
            check_url(self._settings.redis)
            return
        server = prepare(self._settings.data_dir, own_memory_bytes(self._settings, len(self._graphs)))
        # It holds the lock as well: no second server may write to the same files, whatever becomes of us.
        self._start("redis", server.command, _REDIS, _REDIS_STOPS_S, pass_fds=(self._lock,))
        wait_until_answering(server, lambda: self._supervisor.is_running("redis"), self._pause_or_stop)
        redis = self._settings.redis.model_copy(update={"url": server.url})
        self._settings = self._settings.model_copy(update={"redis": redis})

    def _pause_or_stop(self) -> None:
        if self._signals.count:
            raise _Stopped
        self._pause.wait(_TICK_S / 4)

    def _start_the_rest(self) -> None:
        imagegen = [sys.executable, "-P", "-m", "cli"]
        for name in self._graphs:
            command = [*imagegen, "worker", "--graph", name]
            self._start(f"worker {name}", command, _WORKERS, self._settings.worker.shutdown_timeout_s)
        if self._settings.webhooks.secrets:
            limit_s = self._settings.webhooks.timeout_s
            self._start("webhooks", [*imagegen, "worker", "--webhooks"], _WORKERS, limit_s)
        self._start("api", [*imagegen, "api"], _API, self._settings.http.shutdown_timeout_s)

    def _start(self, name: str, command: list[str], stage: int, limit_s: float, pass_fds: tuple[int, ...] = ()) -> None:
        """``limit_s``: how long it may take by itself to stop."""
        environment = child_environment(self._settings)
        self._supervisor.start(ChildSpec(name, command, environment, stage, limit_s + _STOP_MARGIN_S, pass_fds))

    def _wait_until_ready(self) -> None:
        reminded = time.monotonic()
        probe = ReadinessProbe(base_url(self._settings.http))
        probe.start()
        with closing(probe), self._console.status("starting") as status:
            while not probe.is_ready:
                status.update(f"waiting: {escape(probe.reason)}")
                if time.monotonic() - reminded > _REMIND_EVERY_S:
                    reminded = time.monotonic()
                    self._console.print(f"still waiting: {escape(probe.reason)}")
                self._watch()
        self._supervisor.has_started()
