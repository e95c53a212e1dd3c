"""What a worker's main process makes of children that ended because of the device: it lets it rest, or goes on."""

import logging
import time
from collections.abc import Callable

from workers.engine.checks.verdict import CURE
from workers.process.child_reports import ChildEnd
from workers.process.shared_memory import LoadReport

log = logging.getLogger(__name__)

# The worker takes no jobs after so many children in a row that completed none since they loaded the model.
_FRESH_FAILURES = 2
# It rests for so long, twice as long each further time. Then another child tries.
_REST_S = 60.0
_LONGEST_REST_S = 960.0


class DeviceWatch:
    """Counts the children that failed, and says when the worker takes jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds from any beginning. ``advice`` is why the worker rests and what to do."""
        self._clock = clock
        self._fresh_failures = 0
        self._rests_until = 0.0
        self._last_end: ChildEnd | None = None
        self._failed_loads: set[int] = set()
        self._has_loaded = False
        self.advice = ""

    @property
    def is_resting(self) -> bool:
        """Whether the worker takes no jobs, because fresh children failed one after the other."""
        return self._clock() < self._rests_until

    def is_new_end(self, end: ChildEnd | None) -> bool:
        """Take note of the last report of a child that ended; return whether it is a new one."""
        if end is None or end == self._last_end:
            return False
        self._last_end = end
        self._failed(end.error, is_fresh=end.is_fresh)
        return True

    def has_failed_load(self, report: LoadReport | None) -> bool:
        """Take note of a load report; return whether its child, a later one than the first, could not load the model.

        What the first child cannot load, none can: then the worker ends (Supervision).
        """
        if report is None or report.error is None:
            self._has_loaded |= report is not None
            return False
        if self._has_loaded and report.pid not in self._failed_loads:
            self._failed_loads.add(report.pid)
            self._failed(report.error, is_fresh=True)
        return self._has_loaded

    def _failed(self, error: str, *, is_fresh: bool) -> None:
        self._fresh_failures = self._fresh_failures + 1 if is_fresh else 0
        further = self._fresh_failures - _FRESH_FAILURES
        if further < 0:
            log.error("the process that drew is replaced by a fresh one: %s", error)
            return
        rest_s = min(_REST_S * 2**further, _LONGEST_REST_S)
        self._rests_until = self._clock() + rest_s
        self.advice = (
            f"{self._fresh_failures} fresh processes in a row failed on this device, so this worker is not ready. It "
            f"tries again in {rest_s:.0f} s. {CURE}"
        )
        log.error("%s %s", self.advice, error)
