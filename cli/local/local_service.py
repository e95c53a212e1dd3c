"""The processes of one ``imagegen serve``: started in order, watched, and stopped in the opposite order."""

import signal
import sys
import time
from contextlib import closing

import typer
from rich.text import Text

from cli.errors import ChildRefused
from cli.local.announcement import announcement
from cli.local.api_address import base_url
from cli.local.child_environment import child_environment
from cli.local.embedded_redis import choose_max_memory_bytes, prepare, wait_until_answering
from cli.local.readiness_probe import ReadinessProbe
from cli.local.redis_url_check import check_url
from cli.local.service_manager import tell_service_manager
from cli.local.stop_signals import StopSignals
from cli.local.supervisor import ChildSpec, Supervisor
from cli.reload.disk_follower import DiskFollower, Look, source_of
from cli.reload.graph_workers import GraphWorkers, Processes
from cli.terminal import say, say_lines, terminal
from config.machine_memory import child_memory_limit_bytes, memory_bytes
from config.printable import printable
from config.settings import Settings
from config.stop_signal import OWN_STOP_SIGNAL
from graphs.repository.repository import Repository
from workers.jobs.redis.layout import check_layout_at_start

_IMAGEGEN = (sys.executable, "-P", "-m", "cli")
_TICK_S = 0.1
_REMIND_EVERY_S = 30.0
# Added to the time that a child's own graceful shutdown may take; after that its process group is killed.
_STOP_MARGIN_S = 15
_REDIS_STOPS_S = 30
# Stages: the API stops first, then the workers, Redis last.
_REDIS = 0
_WORKERS = 1
_API = 2
# systemd, for one, may send its signal to all processes at once. Only this process hears that one, and stops the others
# in their order, with a signal that no other program sends. Redis stops on SIGTERM and SIGINT only; a second SIGINT
# would end it before it has written its data.
_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Stopped(Exception):
    """A stop signal has arrived."""


class LocalService:
    """A Redis (unless a URL is set), a worker for each graph, one for webhooks if they are signed, and the API.

    ``lock`` is the file descriptor of the data folder's lock.
    """

    def __init__(self, settings: Settings, repository: Repository, lock: int, signals: StopSignals) -> None:
        self._settings = settings
        self._repository = repository
        self._graphs = sorted(repository.graphs)
        self._lock = lock
        self._signals = signals
        self._supervisor = Supervisor()
        self._workers = GraphWorkers(Processes(self._start_worker, self._supervisor.end, self._supervisor.pid))
        self._follower: DiskFollower | None = None
        self._console = terminal(err=True)

    def run(self) -> None:
        """Start all processes, print when they are ready, and keep them running until a stop signal arrives."""
        try:
            of_worker = "its worker" if len(self._graphs) == 1 else f"the workers of {len(self._graphs)} models"
            if has_own_redis := not self._settings.redis.url:
                say(f"starting Redis, the API and {of_worker}", err=True)
            self._start_redis()
            check_layout_at_start(self._settings.redis)
            if not has_own_redis:  # what is wrong with it is said by itself
                say(f"starting the API and {of_worker}", err=True)
            self._start_the_rest()
            self._wait_until_ready()
            say_lines(announcement(self._settings, self._repository))
            sys.stdout.flush()
            tell_service_manager("READY=1", f"STATUS=serves {', '.join(self._graphs)}")
            self._follow_disk()
        except _Stopped:
            self._console.print(
                "stopping (Ctrl-C again does not wait); what is not done goes on at the next start", soft_wrap=True
            )
        except ChildRefused as error:
            raise typer.Exit(2) from error
        finally:
            tell_service_manager("STOPPING=1")
            seen = self._signals.count
            self._supervisor.stop(hurry=lambda: self._signals.count > seen, on_stage=self._print_stage)

    def _print_stage(self, stage: int) -> None:
        http = self._settings.http
        worker = self._settings.worker
        self._console.print(
            {
                _API: f"waiting for the API: requests that wait are answered (at most {http.shutdown_timeout_s} s)",
                _WORKERS: f"waiting for the workers: running jobs are finished (at most {worker.shutdown_timeout_s} s)",
                _REDIS: "waiting for Redis: it writes its data to disk",
            }[stage]
        )

    def _watch(self) -> None:
        self._pause(_TICK_S)
        self._supervisor.tick()

    def _follow_disk(self) -> None:
        """Watch the processes until a stop signal arrives, and follow what becomes of the models on disk."""
        assert self._follower is not None  # noqa: S101 - made with the workers
        self._follower.start()
        seen: Look | None = None
        while True:
            self._watch()
            look = self._follower.latest
            if look is None or look is seen:
                continue
            seen = look
            self._workers.start_missing(look.wanted)
            self._workers.end_unneeded(look.wanted, look.fleet)
            self._follower.models = self._workers.models
            self._follower.asks_for_workers = self._workers.has_unneeded
            if (graphs := sorted(look.wanted.repository.graphs)) != self._graphs:
                self._graphs = graphs
                tell_service_manager(f"STATUS=serves {', '.join(graphs) or 'no model'}")

    def _pause(self, seconds: float = _TICK_S / 4) -> None:
        self._signals.wait(seconds)
        if self._signals.count:
            raise _Stopped

    def _start_redis(self) -> None:
        if self._settings.redis.url:
            check_url(self._settings.redis)
            return
        server = prepare(self._settings.data_dir, choose_max_memory_bytes(self._settings, len(self._graphs)))
        # Redis holds the lock as well: if this process is killed, no second server may write to the same files.
        self._start("redis", server.command, _REDIS, _REDIS_STOPS_S, pass_fds=(self._lock,))
        wait_until_answering(server, lambda: self._supervisor.is_running("redis"), self._pause)
        redis = self._settings.redis.model_copy(update={"url": server.url})
        self._settings = self._settings.model_copy(update={"redis": redis})

    def _share_memory(self) -> None:
        """Give each worker its share of this machine's memory, unless the settings state a bound."""
        worker = self._settings.worker
        if worker.child_memory_limit_bytes is None:
            limit = child_memory_limit_bytes(memory_bytes(), workers=len(self._graphs))
            worker = worker.model_copy(update={"child_memory_limit_bytes": limit})
            self._settings = self._settings.model_copy(update={"worker": worker})

    def _start_the_rest(self) -> None:
        self._share_memory()
        served = source_of(self._settings).read()
        self._workers.start_missing(served)
        self._follower = DiskFollower(self._settings, served)
        self._follower.models = self._workers.models
        if self._settings.webhooks.secrets:
            limit_s = self._settings.webhooks.timeout_s
            self._start("webhooks", [*_IMAGEGEN, "worker", "--webhooks"], _WORKERS, limit_s)
        self._start("api", [*_IMAGEGEN, "api"], _API, self._settings.http.shutdown_timeout_s)

    def _start_worker(self, process: str, graph: str) -> None:
        limit_s = self._settings.worker.shutdown_timeout_s
        self._start(process, [*_IMAGEGEN, "worker", "--graph", graph], _WORKERS, limit_s, may_refuse=True)

    def _start(
        self,
        name: str,
        command: list[str],
        stage: int,
        limit_s: float,
        pass_fds: tuple[int, ...] = (),
        may_refuse: bool = False,
    ) -> None:
        """``limit_s`` is the time that the process's own graceful shutdown may take."""
        environment = child_environment(self._settings)
        self._supervisor.start(
            ChildSpec(
                name,
                command,
                environment,
                stage,
                limit_s + _STOP_MARGIN_S,
                pass_fds,
                may_refuse,
                stop_signal=signal.SIGINT if stage == _REDIS else OWN_STOP_SIGNAL,
                hurries=stage != _REDIS,
                without=tuple(n for n in _FROM_OUTSIDE if stage != _REDIS or n != signal.SIGINT),
            )
        )

    def _wait_until_ready(self) -> None:
        reminded = time.monotonic()
        probe = ReadinessProbe(base_url(self._settings.http))
        probe.start()
        with closing(probe), self._console.status("starting") as status:
            while not probe.is_ready:
                status.update(Text(f"waiting: {printable(probe.reason)}"))
                if time.monotonic() - reminded > _REMIND_EVERY_S:
                    reminded = time.monotonic()
                    self._console.print(f"still waiting: {printable(probe.reason)}")
                self._watch()
        self._supervisor.has_started()
