"""The supervisor, with real child processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.errors import ChildRefused, UserError
from cli.local.supervisor import Backoff, ChildSpec, Supervisor
from cli.polling import attempts
from tests.cli.cli_support import ROOT, clean_environment, is_gone
from tests.support.polling import pause, wait_until

SLEEPS = "import time; time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); " + SLEEPS
# A child with a child of its own in the same group, whose process id it writes into a file.
PARENT = (
    "import subprocess, sys, pathlib; p = subprocess.Popen([sys.executable, '-c', {code!r}]); "
    "pathlib.Path({file!r}).write_text(str(p.pid)); p.wait()"
)


def spec(name: str, code: str, *, stage: int = 0, deadline_s: float = 10.0) -> ChildSpec:
    command = [sys.executable, "-I", "-S", "-c", code]
    return ChildSpec(name, command, clean_environment(), stage, deadline_s)


def read_pid(file: Path) -> int:
    wait_until(lambda: file.exists() and file.read_text())
    return int(file.read_text())


def test_a_killed_child_is_noticed_at_once_and_started_again(supervisor: Supervisor) -> None:
    supervisor.start(spec("a", SLEEPS))
    first = supervisor.pid("a")
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not supervisor.is_running("a"), deadline_s=0.5)
    supervisor.tick()
    assert supervisor.pid("a") is None
    began = time.monotonic()

    def restarted() -> bool:
        supervisor.tick()
        return supervisor.is_running("a")

    wait_until(restarted)
    assert 0.1 < time.monotonic() - began < 2
    assert supervisor.pid("a") != first


def test_the_delay_doubles_up_to_its_limit(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    supervisor.start(spec("a", "raise SystemExit(7)"))
    supervisor.has_started()

    def enough() -> bool:
        supervisor.tick()
        return len(caplog.messages) >= 4

    wait_until(enough)
    assert caplog.messages[:4] == [
        f"a exited with code 7; starting it again in {delay} s" for delay in ("0.2", "0.4", "0.8", "0.8")
    ]


@pytest.mark.usefixtures("processes")
def test_a_steady_run_resets_the_delay(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(Backoff(first_s=0.05, longest_s=30, steady_s=0))
    supervisor.start(spec("a", "raise SystemExit(7)"))
    supervisor.has_started()

    def enough() -> bool:
        supervisor.tick()
        return len(caplog.messages) >= 3

    wait_until(enough)
    supervisor.stop()
    assert all("in 0.05 s" in message for message in caplog.messages)


def test_a_child_that_may_refuse_ends_all_only_when_all_such_children_do(
    supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go = tmp_path / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\nraise SystemExit(2)"
    supervisor.start(replace(spec("a", "raise SystemExit(2)"), may_refuse=True))
    supervisor.start(replace(spec("b", waits), may_refuse=True))

    def refused_once() -> bool:
        supervisor.tick()
        return any("a exited with code 2" in message for message in caplog.messages)

    wait_until(refused_once)
    go.touch()
    with pytest.raises(ChildRefused):
        while True:
            supervisor.tick()
            pause(0.02)


def test_code_2_ends_all_while_starting_and_is_a_crash_later(supervisor: Supervisor) -> None:
    supervisor.start(spec("a", "raise SystemExit(2)"))
    with pytest.raises(ChildRefused):
        while True:
            supervisor.tick()
            pause(0.02)
    supervisor.has_started()
    supervisor.start(spec("b", "raise SystemExit(2)"))
    wait_until(lambda: not supervisor.is_running("b"))
    supervisor.tick()
    assert supervisor.pid("b") is None


@pytest.mark.parametrize(
    ("code", "how"),
    [("raise SystemExit(7)", "exited with code 7"), ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV")],
)
def test_a_child_that_cannot_start_ends_the_start(supervisor: Supervisor, code: str, how: str) -> None:
    supervisor.start(spec("a", code))
    with pytest.raises(UserError, match=f"a cannot start: it {how}, 3 times in a row; its lines above say why"):
        for _ in attempts(20, 0.05):
            supervisor.tick()


def test_a_worker_that_cannot_start_leaves_the_others(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    supervisor.start(replace(spec("a", "raise SystemExit(7)"), may_refuse=True))
    supervisor.start(replace(spec("b", SLEEPS), may_refuse=True))

    def tried_often() -> bool:
        supervisor.tick()
        return caplog.text.count("a exited with code 7") >= 4

    wait_until(tried_often, deadline_s=20)
    assert supervisor.is_running("b")


def test_stages_stop_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def stop(*_):\n    open({file!r}, 'a').write({name!r} + ' '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop); open({file!r} + {name!r}, 'w').close(); time.sleep(600)"
    )
    for stage, name in enumerate(("redis", "worker", "api")):
        supervisor.start(spec(name, code.format(file=str(order), name=name), stage=stage))
        wait_until(lambda name=name: Path(f"{order}{name}").exists())  # type: ignore[misc]
    supervisor.stop()
    assert order.read_text().split() == ["api", "worker", "redis"]


def test_a_stubborn_group_is_killed_after_its_deadline(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    supervisor.start(spec("a", code + PARENT.format(code=STUBBORN, file=str(file)), deadline_s=0.5))
    grandchild, child = read_pid(file), supervisor.pid("a")
    assert child
    began = time.monotonic()
    supervisor.stop()
    assert 0.4 < time.monotonic() - began < 3
    wait_until(lambda: is_gone(grandchild) and is_gone(child))


def test_hurry_does_not_wait_for_the_deadline(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    supervisor.start(spec("a", code + PARENT.format(code=SLEEPS, file=str(file)), deadline_s=60))
    read_pid(file)
    began = time.monotonic()
    supervisor.stop(hurry=lambda: time.monotonic() - began > 0.2)
    assert time.monotonic() - began < 3


def test_the_rest_of_a_dead_childs_group_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    supervisor.start(spec("a", PARENT.format(code=STUBBORN, file=str(file))))
    grandchild, child = read_pid(file), supervisor.pid("a")
    assert child
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not supervisor.is_running("a"))
    supervisor.tick()
    wait_until(lambda: is_gone(grandchild))


@pytest.mark.usefixtures("processes")
def test_a_killed_supervisor_leaves_no_child(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = f"""
import pathlib, time
from cli.local.supervisor import ChildSpec, Supervisor
from tests.cli.local.test_supervisor import STUBBORN, spec
supervisor = Supervisor()
supervisor.start(spec("a", STUBBORN))
pathlib.Path({str(file)!r}).write_text(str(supervisor.pid("a")))
time.sleep(600)
"""
    serve = subprocess.Popen([sys.executable, "-c", code], env=clean_environment(), cwd=ROOT, stderr=subprocess.PIPE)
    with serve:
        child = read_pid(file)
        assert serve.stderr and serve.stderr.readline() == b"up\n"
        serve.kill()
    wait_until(lambda: is_gone(child), deadline_s=5)
