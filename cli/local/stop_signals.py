"""The signals with which a person or a system says stop."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP instead of being ended by them (within a ``with`` block)."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._counted) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _counted(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
