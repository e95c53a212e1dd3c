"""Keeps child processes running, and stops all of them.

A supervisor has no threads and handles no signals. Its owner calls ``tick`` several times a second and ``stop`` at the
end, from the thread that started the children: on Linux a child is killed when that thread ends.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from cli.errors import ChildRefused, UserError
from cli.polling import attempts

_logger = logging.getLogger(__name__)
_SHIM = Path(__file__).resolve().parent / "tied_process.py"
_REFUSED = 2
# A child that ends like this so many times in a row while the service starts cannot start at all.
_SAME_ENDS = 3
_POLL_S = 0.05
_STDERR = 2
# The time to stop that a child has in any case: a worker hands its job back and Redis closes its files in less.
_SHORTEST_DEADLINE_S = 2.0
# Two signals of one kind at once would arrive as one.
_BETWEEN_SIGNALS_S = 0.2


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running. ``command[0]`` is absolute; higher stages stop earlier.

    The start goes on when a child ``may_refuse`` and exits with code 2, as long as another such child has not.
    ``stop_signal`` asks it to stop, a second time if it is to hurry and ``hurries``; ``without`` stay blocked in it.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    stage: int
    stop_deadline_s: float = 10.0
    pass_fds: tuple[int, ...] = ()
    may_refuse: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    hurries: bool = True
    without: tuple[signal.Signals, ...] = ()


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a child is started again, in seconds.

    The wait doubles with each start, up to ``longest_s``; it is ``first_s`` again after a run of ``steady_s``.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    steady_s: float = 60.0


class _Child:
    """A ChildSpec with its process, which is None between an exit and the next start."""

    def __init__(self, spec: ChildSpec, backoff: Backoff) -> None:
        self.spec = spec
        self._backoff = backoff
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.restart_at = 0.0
        self._delay_s = backoff.first_s
        self._last_code: int | None = None
        self._same_ends = 0
        # By when it must have ended, once it was asked to end for good.
        self.ends_by = inf

    def count_end(self, code: int) -> int:
        """Return how many times in a row the process has now ended with this code."""
        self._same_ends = self._same_ends + 1 if code == self._last_code else 1
        self._last_code = code
        return self._same_ends

    def start(self) -> None:
        blocked = [f"--without={','.join(number.name for number in self.spec.without)}"] if self.spec.without else []
        command = [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), *blocked, *self.spec.command]
        self.process = subprocess.Popen(
            command,
            env=self.spec.environment,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,  # our standard output is for the output of the command
            start_new_session=True,
            pass_fds=self.spec.pass_fds,
        )
        self.started_at = time.monotonic()

    def collect(self) -> int | None:
        """If the process has ended, kill the rest of its group and return the exit code; else return None."""
        if self.process is None or not _has_ended(self.process.pid):
            return None
        # The process is not reaped yet, so no other group can have its number.
        _kill_group(self.process.pid)
        code = self.process.wait()
        self.process = None
        return code

    def schedule_restart(self) -> float:
        """Set the time of the next start; return the delay in seconds."""
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
        self._refused: set[str] = set()

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it running from now on."""
        child = self._children[spec.name] = _Child(spec, self._backoff)
        child.start()

    def is_running(self, name: str) -> bool:
        """Return whether the child's process is running now."""
        process = self._children[name].process
        return process is not None and not _has_ended(process.pid)

    def pid(self, name: str) -> int | None:
        """Return the process id of a child; None while it waits for its next start."""
        process = self._children[name].process
        return process.pid if process else None

    def has_started(self) -> None:
        """End the start phase: from now on, a child that exits with code 2 is started again like any other."""
        self._starting = False

    def tick(self) -> None:
        """Collect the children that have exited, and start those whose delay is over.

        Raises ChildRefused when a child exits with code 2 in the start phase, and UserError when it ends in another way
        three times in a row, unless it may refuse and another that may has not.
        """
        for child in list(self._children.values()):
            code = child.collect()
            if child.ends_by < inf:
                self._await_end(child)
            elif code is not None:
                self._on_exit(child, code)
            elif child.process is None and time.monotonic() >= child.restart_at:
                child.start()

    def end(self, name: str) -> None:
        """Ask a child to stop, and do not start it again. ``tick`` sees to its end."""
        child = self._children[name]
        child.ends_by = time.monotonic() + child.spec.stop_deadline_s
        _ask_to_stop([child])

    def _await_end(self, child: _Child) -> None:
        if child.process is not None and time.monotonic() > child.ends_by:
            _kill_late(child)
        if child.process is None:
            del self._children[child.spec.name]

    def stop(self, hurry: Callable[[], bool] = lambda: False, on_stage: Callable[[int], None] = lambda _: None) -> None:
        """Stop all children, stage by stage, beginning with the highest.

        ``on_stage`` is called with the number of each stage before it is stopped. Once ``hurry`` returns True, each
        child has only a short time left.
        """
        for stage in sorted({child.spec.stage for child in self._children.values()}, reverse=True):
            on_stage(stage)
            _stop_together([c for c in self._children.values() if c.spec.stage == stage], hurry)
        self._children.clear()

    def _on_exit(self, child: _Child, code: int) -> None:
        name = child.spec.name
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
        cannot_start = child.count_end(code) >= _SAME_ENDS or code == _REFUSED
        if self._starting and cannot_start and self._must_stop(child.spec):
            if code == _REFUSED:
                raise ChildRefused(name)
            raise UserError(f"{name} cannot start: it {how}, {_SAME_ENDS} times in a row; its lines above say why.")
        _logger.warning("%s %s; starting it again in %g s", name, how, child.schedule_restart())

    def _must_stop(self, refused: ChildSpec) -> bool:
        self._refused.add(refused.name)
        others = {child.spec.name for child in self._children.values() if child.spec.may_refuse}
        return not refused.may_refuse or others <= self._refused


def _stop_together(children: list[_Child], hurry: Callable[[], bool]) -> None:
    """Ask each child to stop, once more after ``hurry``; kill the groups of children that exceed their deadline."""
    began = time.monotonic()
    is_hurried = False
    _ask_to_stop(children)
    for _ in attempts(inf, _POLL_S):
        if hurry() and not is_hurried and time.monotonic() - began > _BETWEEN_SIGNALS_S:
            _ask_to_stop([child for child in children if child.spec.hurries])
            is_hurried = True
            began = time.monotonic()
        for child in children:
            deadline_s = min(_SHORTEST_DEADLINE_S if hurry() else inf, child.spec.stop_deadline_s)
            is_late = time.monotonic() - began > deadline_s
            if child.process is not None and child.collect() is None and is_late:
                _kill_late(child)
        if not any(child.process for child in children):
            return


def _kill_late(child: _Child) -> None:
    if child.process is not None:
        _logger.warning("%s is killed: it has not stopped yet", child.spec.name)
        _kill_group(child.process.pid)
        child.process.wait()
        child.process = None


def _ask_to_stop(children: list[_Child]) -> None:
    for child in children:
        if child.process is not None:
            # Popen.terminate() may reap the process, and its group must be killed before that.
            os.kill(child.process.pid, child.spec.stop_signal)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the group has no process left
        return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
