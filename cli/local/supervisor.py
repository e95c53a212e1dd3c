"""Keeps child processes running, and stops every one of them.

No threads and no signals of its own: whoever owns a Supervisor calls ``tick`` several times a second (from the
thread that started the children: on Linux a child dies with that thread) and ``stop`` at the end.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from cli.errors import ChildRefused

_logger = logging.getLogger(__name__)
_SHIM = Path(__file__).resolve().parent / "tied_process.py"
_REFUSED = 2
_POLL_S = 0.05
_STDERR = 2
# What even a hurried child gets: a worker hands its job back and Redis closes its files in less.
_LEAST_PATIENCE_S = 2.0
# Two signals at once would be one.
_BETWEEN_SIGNALS_S = 0.2


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running. ``command[0]`` is absolute; higher stages stop earlier."""

    name: str
    command: list[str]
    environment: dict[str, str]
    stage: int
    stop_deadline_s: float = 10.0
    pass_fds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a child is started again: doubling, and from the start after a steady run."""

    first_s: float = 1.0
    longest_s: float = 30.0
    steady_s: float = 60.0


class _Child:
    """One ChildSpec and its present process, None between a death and the next start."""

    def __init__(self, spec: ChildSpec, backoff: Backoff) -> None:
        self.spec, self._backoff = spec, backoff
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = self.restart_at = 0.0
        self._delay_s = backoff.first_s

    def start(self) -> None:
        command = [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), *self.spec.command]
        self.process = subprocess.Popen(
            command,
            env=self.spec.environment,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,  # our own standard output holds only what we were asked for
            start_new_session=True,
            pass_fds=self.spec.pass_fds,
        )
        self.started_at = time.monotonic()

    def collect(self) -> int | None:
        """Return the exit code if the process has ended, and leave nothing of its group behind."""
        if self.process is None or not _has_ended(self.process.pid):
            return None
        # Not reaped yet, so the number of the group cannot have become another's.
        _kill_group(self.process.pid)
        code = self.process.wait()
        self.process = None
        return code

    def schedule_restart(self) -> float:
        """Set when to start again; return the delay in seconds."""
        now = time.monotonic()
        if now - self.started_at >= self._backoff.steady_s:
            self._delay_s = self._backoff.first_s
        delay = self._delay_s
        self._delay_s = min(2 * delay, self._backoff.longest_s)
        self.restart_at = now + delay
        return delay


class Supervisor:
    """A set of children that are restarted when they exit."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._children: dict[str, _Child] = {}
        self._starting = True

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it running from now on."""
        child = self._children[spec.name] = _Child(spec, self._backoff)
        child.start()

    def is_running(self, name: str) -> bool:
        """Tell whether the child's process lives at this moment."""
        process = self._children[name].process
        return process is not None and not _has_ended(process.pid)

    def pid(self, name: str) -> int | None:
        """Return the process id of a child, None while it waits to be started again."""
        process = self._children[name].process
        return process.pid if process else None

    def has_started(self) -> None:
        """Say that all is up: a child that refuses its configuration later is only started again."""
        self._starting = False

    def tick(self) -> None:
        """Notice children that have exited, and start those whose time has come.

        Raises ChildRefused when one exits with code 2 while everything is still being started.
        """
        for child in self._children.values():
            code = child.collect()
            if code is not None:
                self._on_exit(child, code)
            elif child.process is None and time.monotonic() >= child.restart_at:
                child.start()

    def stop(self, hurry: Callable[[], bool] = lambda: False, told: Callable[[int], None] = lambda _: None) -> None:
        """Stop all children, stage by stage, the last one first; ``hurry`` true ends the waiting.

        ``told`` gets the number of each stage that is about to be stopped.
        """
        for stage in sorted({child.spec.stage for child in self._children.values()}, reverse=True):
            told(stage)
            _stop_together([c for c in self._children.values() if c.spec.stage == stage], hurry)
        self._children.clear()

    def _on_exit(self, child: _Child, code: int) -> None:
        if code == _REFUSED and self._starting:
            raise ChildRefused(child.spec.name)
        delay = child.schedule_restart()
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
        _logger.warning("%s %s; starting it again in %g s", child.spec.name, how, delay)


def _stop_together(children: list[_Child], hurry: Callable[[], bool]) -> None:
    """Ask the leader of each group to stop, again where it is to hurry, and kill the groups that take too long."""
    began, told_twice = time.monotonic(), False
    _tell(children)
    pause = threading.Event()
    while any(child.process for child in children):
        if hurry() and not told_twice and time.monotonic() - began > _BETWEEN_SIGNALS_S:
            _tell(children)
            told_twice, began = True, time.monotonic()
        for child in children:
            patience_s = min(_LEAST_PATIENCE_S if hurry() else inf, child.spec.stop_deadline_s)
            late = time.monotonic() - began > patience_s
            if child.process is not None and child.collect() is None and late:
                _logger.warning("%s is killed: it has not stopped yet", child.spec.name)
                _kill_group(child.process.pid)
                child.process.wait()
                child.process = None
        pause.wait(_POLL_S)


def _tell(children: list[_Child]) -> None:
    for child in children:
        if child.process is not None:
            # Not Popen.terminate(), which may reap: the group is to be emptied before that.
            os.kill(child.process.pid, signal.SIGTERM)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody is left in it
        return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
