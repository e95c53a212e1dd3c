"""The signals that ask ``imagegen serve`` to stop."""

import select
import signal
import socket
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP within a ``with`` block, instead of being ended by them.

    SIGHUP stays ignored where it is already: with ``nohup`` the service outlives its terminal.
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "StopSignals":
        # Python writes a byte into this socket for each signal, so that ``wait`` returns at once. An Event would not
        # do: a handler that sets it can deadlock with the main thread, which waits on it.
        self._signalled, self._wakeup = socket.socketpair()
        self._signalled.setblocking(False)
        self._wakeup.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        counted = [number for number in _SIGNALS if number != signal.SIGHUP or not _is_ignored(number)]
        self._previous = {number: signal.signal(number, self._count) for number in counted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._wakeup.close()
        self._signalled.close()

    def wait(self, timeout_s: float) -> None:
        """Wait ``timeout_s`` seconds, or until a signal arrives."""
        if select.select([self._signalled], [], [], timeout_s)[0]:
            self._signalled.recv(4096)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
