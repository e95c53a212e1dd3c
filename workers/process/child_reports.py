"""What a child reports of itself: what it is doing, its last error, and why it ended."""

import json
import mmap
import time
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class ChildStage(IntEnum):
    """What a child is doing. A child that has not loaded its model reports nothing yet."""

    IDLE = 0
    DRAWING = 1
    CHECKING = 2  # it draws the known picture, because a job met something that a sick device does as well
    STORING = 3


class ChildStages:
    """The page with the stage of the child."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, stage: ChildStage) -> None:
        """Write the stage (in the child)."""
        self._page[0] = stage

    def current(self) -> ChildStage:
        """Return the stage (in the main process)."""
        return ChildStage(self._page[0])


@dataclass(frozen=True)
class ChildError:
    """The last error of a worker's children, without paths of the server; ``at``: unix seconds of this machine."""

    message: str
    at: float


@dataclass(frozen=True)
class ChildEnd:
    """Why a child ended itself: ``reason`` is a word for metrics, ``error`` a sentence.

    ``is_fresh``: it has completed no job since it loaded the model.
    """

    pid: int
    reason: str
    error: str
    is_fresh: bool


class JsonPages:
    """Shared pages with one JSON object, of which the process that reads sees the whole or nothing."""

    _SIZE = 32 * 1024
    # A character takes at most twelve bytes, where JSON escapes a surrogate pair.
    _LONGEST = 2000

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, self._SIZE)

    def _write(self, values: dict[str, Any]) -> None:
        cut = {name: value[: self._LONGEST] if isinstance(value, str) else value for name, value in values.items()}
        self._page[:] = json.dumps(cut).encode().ljust(self._SIZE, b"\0")

    def _read(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._page[:].rstrip(b"\0") or b"null")
        except ValueError:  # it is being written at this moment; the next look sees all of it
            return None
        return found


class TaskClock(JsonPages):
    """The pages with the child that runs a task, and since when."""

    def start(self, pid: int) -> None:
        """Write that this child begins a task (in the child)."""
        self._write({"pid": pid, "since": time.monotonic()})

    def stop(self) -> None:
        """Write that no task runs (in the child)."""
        self._write({})

    def has_run_s(self, children: Set[int]) -> float:
        """Return for how many seconds one of these children has run its task; 0 where none does (main process)."""
        found = self._read()  # the monotonic clock is the system's, so both processes read the same one
        return time.monotonic() - found["since"] if found and found["pid"] in children else 0.0


class ChildErrors(JsonPages):
    """The pages with the last error of the children."""

    def write(self, message: str) -> None:
        """Replace the error (in either process)."""
        self._write({"message": message, "at": time.time()})

    def read(self) -> ChildError | None:
        """Return the last error, or None before the first."""
        found = self._read()
        return ChildError(**found) if found else None


class StageTimes(JsonPages):
    """The pages with the seconds that each stage of the last drawn job took."""

    def write(self, seconds: Mapping[str, float]) -> None:
        """Replace them (in the child); stages without any did not run."""
        self._write({stage: rounded for stage, value in seconds.items() if (rounded := round(value, 3))})

    def read(self) -> dict[str, float]:
        """Return them (in the main process), none before the first job."""
        return self._read() or {}


class ChildEnds(JsonPages):
    """The pages with the report of the child that ended itself last."""

    def write(self, end: ChildEnd) -> None:
        """Replace the report (in the child)."""
        self._write(asdict(end))

    def read(self) -> ChildEnd | None:
        """Return the last report (in the main process), or None before the first."""
        found = self._read()
        return ChildEnd(**found) if found else None
