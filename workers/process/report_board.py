"""What a worker's child tells its main process without a word between them: pages of shared memory."""

import json
import mmap
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """What a child says once it has tried to load its model."""

    pid: int
    operations: tuple[str, ...] = ()
    error: str | None = None


class ReportBoard:
    """Shared memory that the children inherit: the newest one's load report stands on it."""

    # Room for an error of 2000 characters, twelve bytes each where JSON escapes a surrogate pair.
    _SIZE = 32 * 1024

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, self._SIZE)
        self._running = mmap.mmap(-1, mmap.PAGESIZE)
        self._taken = mmap.mmap(-1, mmap.PAGESIZE)

    def set_running(self, job_id: str | None) -> None:
        """Say which job runs from now on (in the child); None for none."""
        if job_id is not None:
            self._taken[:8] = (self.taken() + 1).to_bytes(8)
        self._post(f"{job_id} {time.monotonic()!r}" if job_id else "")

    def set_storing(self, job_id: str) -> None:
        """Say that the job is drawn and is being stored (in the child): it is no longer on its time."""
        self._post(f"{job_id} inf")

    def running(self) -> str | None:
        """Return the job that runs, or that ran when the child died (in the parent)."""
        return self._posted()[0] or None

    def running_for_s(self) -> float:
        """Return how long the child has been drawing that job, in seconds (in the parent)."""
        since = self._posted()[2]  # of the system's clock, which is the same in all its processes
        return time.monotonic() - float(since) if since else 0.0

    def _post(self, text: str) -> None:
        self._running[:] = text.encode().ljust(mmap.PAGESIZE, b"\0")

    def _posted(self) -> tuple[str, str, str]:
        return self._running[:].rstrip(b"\0").decode().partition(" ")

    def taken(self) -> int:
        """Return how many jobs the children have taken so far."""
        return int.from_bytes(self._taken[:8])

    def write(self, report: LoadReport) -> None:
        """Replace the report (in the child)."""
        text = json.dumps({**report.__dict__, "error": report.error and report.error[:2000]}).encode()
        self._page[:] = text.ljust(self._SIZE, b"\0")

    def read(self) -> LoadReport | None:
        """Return the newest report (in the parent), or None before the first."""
        text = self._page[:].rstrip(b"\0")
        if not text:
            return None
        try:
            values = json.loads(text)
        except ValueError:  # the child is writing at this moment; the next round reads all of it
            return None
        return LoadReport(values["pid"], tuple(values["operations"]), values["error"])
