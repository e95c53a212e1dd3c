"""Whether a child has grown past the bound of its memory, judged after each of its jobs.

The runtime keeps memory for each size that it has drawn and never gives it back (docs/jobs.md), so a child that drew
many sizes is replaced by a new one.
"""

import json
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.machine_memory import resident_bytes
from workers.process.memory.free_memory import give_back_freed_memory

# A child that is past its bound after its first image may grow by this factor, so that it does not reload for ever.
_GROWTH_OF_TOO_LARGE = 1.25
_GIVES_BACK_EVERY_S = 1.0
_SETTING = "IMAGEGEN_WORKER__CHILD_MEMORY_LIMIT_BYTES"


@dataclass(frozen=True)
class MemoryReport:
    """The resident memory of a child after its first image and after its last job.

    ``limit_bytes`` is the bound of the settings, ``bound_bytes`` the one that holds for this child.
    """

    pid: int
    first_bytes: int
    last_bytes: int
    limit_bytes: int
    bound_bytes: int

    @property
    def is_past_bound(self) -> bool:
        """Whether the child has grown past its bound, so that a new one replaces it before the next job."""
        return self.last_bytes > self.bound_bytes

    @property
    def is_too_large_at_first(self) -> bool:
        """Whether the child was past the bound of the settings after its first image: a new one would be so, too."""
        return self.first_bytes > self.limit_bytes

    def growth_sentence(self) -> str:
        """Return the sentence for the log about a child that is replaced."""
        return (
            f"the process that draws (pid {self.pid}) grew from {_mib(self.first_bytes)} MiB after its first image to "
            f"{_mib(self.last_bytes)} MiB, past its bound of {_mib(self.bound_bytes)} MiB"
        )

    def too_large_sentence(self) -> str:
        """Return the sentence for the log about a bound that is too low for the model."""
        return (
            f"the process that draws (pid {self.pid}) takes {_mib(self.first_bytes)} MiB after its first image, more "
            f"than its bound of {_mib(self.limit_bytes)} MiB ({_SETTING}). It is replaced only above "
            f"{_mib(self.bound_bytes)} MiB, because a new one would take as much. Raise the bound above that, give the "
            "machine more memory, or serve the model with smaller weights (INT8)."
        )


class MemoryReports:
    """The page with the memory report of the newest child that has drawn, which main process and child share."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, report: MemoryReport) -> None:
        """Replace the report (in the child)."""
        self._page[:] = json.dumps(report.__dict__).encode().ljust(mmap.PAGESIZE, b"\0")

    def clear(self) -> None:
        """Remove the report of a child that is replaced (in the main process)."""
        self._page[:] = bytes(mmap.PAGESIZE)

    def read(self) -> MemoryReport | None:
        """Return the newest report (in the main process), or None before the first."""
        try:
            return MemoryReport(**json.loads(self._page[:].rstrip(b"\0")))
        except ValueError:  # there is none, or the child is writing at this moment
            return None


class ChildMemory:
    """Measures the memory of this process, a worker's child, and reports it to the main process."""

    def __init__(
        self,
        pid: int,
        limit_bytes: int,
        reports: MemoryReports,
        measure: Callable[[], int] = resident_bytes,
        give_back: Callable[[], None] = give_back_freed_memory,
    ) -> None:
        """``limit_bytes`` is the bound of the settings; ``measure`` returns the resident memory in bytes.

        ``give_back`` gives freed memory back to the system.
        """
        self._pid = pid
        self._limit_bytes = limit_bytes
        self._reports = reports
        self._measure = measure
        self._give_back = give_back
        self._gives_back_at = float("-inf")
        self._first_bytes: int | None = None
        self.is_past_bound = False

    def job_ended(self, *, has_drawn: bool) -> None:
        """Give freed memory back, measure and report.

        Nothing is measured until a job has drawn: the runtime takes most memory only then. After quick jobs freed
        memory is given back once a second, since the next job would only ask for it again.
        """
        if self._first_bytes is None and not has_drawn:
            return
        gives_back = time.monotonic() >= self._gives_back_at
        report = self._measured(gives_back=gives_back)
        if report.is_past_bound and not gives_back:
            report = self._measured(gives_back=True)
        self.is_past_bound = report.is_past_bound
        self._reports.write(report)

    def _measured(self, *, gives_back: bool) -> MemoryReport:
        if gives_back:
            self._give_back()
            self._gives_back_at = time.monotonic() + _GIVES_BACK_EVERY_S
        last_bytes = self._measure()
        if self._first_bytes is None:
            self._first_bytes = last_bytes
        first_bytes = self._first_bytes
        is_too_large = first_bytes > self._limit_bytes
        bound_bytes = int(first_bytes * _GROWTH_OF_TOO_LARGE) if is_too_large else self._limit_bytes
        return MemoryReport(self._pid, first_bytes, last_bytes, self._limit_bytes, bound_bytes)


def _mib(size_bytes: int) -> int:
    return size_bytes // 2**20
