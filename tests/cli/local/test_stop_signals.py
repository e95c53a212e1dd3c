"""The signals that stop a service: nohup's choice is respected."""

import os
import signal
from collections.abc import Iterator

import pytest

from cli.local.stop_signals import StopSignals


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    """The handler of SIGHUP as it was."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("before", "counted"), [(signal.SIG_DFL, 1), (signal.SIG_IGN, 0)], ids=["plain", "nohup"])
def test_a_terminal_that_closes_stops_it_except_with_nohup(before: signal.Handlers, counted: int) -> None:
    signal.signal(signal.SIGHUP, before)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        signals.wait(0.1)
        assert signals.count == counted
    assert signal.getsignal(signal.SIGHUP) == before
