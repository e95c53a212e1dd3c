"""Memory that a worker's main process and its children share: commands for the child, and the child's reports.

The main process makes it before it forks. Both sides only read and write pages, so neither ever waits for the other.
"""

import logging
import mmap
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Protocol

from workers.process.child_reports import (
    ChildEnd,
    ChildEnds,
    ChildErrors,
    ChildStage,
    ChildStages,
    JsonPages,
    StageTimes,
    TaskClock,
)
from workers.process.memory.child_memory import MemoryReports


class ChildCommand(IntEnum):
    """What the main process lets its child do."""

    CONTINUE = 0
    TAKE_NO_JOBS = 1
    HAND_BACK = 2


class ChildCommands:
    """The page with the current command; the main process writes it, the child reads it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def give(self, command: ChildCommand) -> None:
        """Replace the current command (in the main process)."""
        self._page[0] = command

    def current(self) -> ChildCommand:
        """Return the current command (in either process)."""
        return ChildCommand(self._page[0])


@dataclass(frozen=True)
class LoadReport:
    """The result of a child's attempt to load its model: the operations that it can do, or the error."""

    pid: int
    operations: tuple[str, ...] = ()
    error: str | None = None


class LoadReports(JsonPages):
    """The pages with the load report of the newest child."""

    def write(self, report: LoadReport) -> None:
        """Replace the report (in the child)."""
        self._write(asdict(report))

    def read(self) -> LoadReport | None:
        """Return the newest report (in the main process), or None before the first."""
        values = self._read()
        return LoadReport(values["pid"], tuple(values["operations"]), values["error"]) if values else None


class _TextPage:
    """A page with a short text that one process writes and the other reads."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, text: str) -> None:
        self._page[:] = text.encode().ljust(mmap.PAGESIZE, b"\0")

    def read(self) -> str:
        return self._page[:].rstrip(b"\0").decode()


class RunningJob:
    """The pages with the id of the job that the child runs, since when, and how many jobs the children have claimed."""

    def __init__(self) -> None:
        self._page = _TextPage()
        self._claimed = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, job_id: str) -> None:
        """Write that the child has claimed this job and runs it (in the child)."""
        self._claimed[:8] = (self.claimed_count() + 1).to_bytes(8)
        self._page.write(f"{job_id} {time.monotonic()!r}")

    def set_drawn(self, job_id: str) -> None:
        """Write that the job's images wait to be stored (in the child): its time limit no longer applies."""
        self._page.write(f"{job_id} inf")

    def clear(self) -> None:
        """Write that no job runs (in the child, or in the main process for a child that died)."""
        self._page.write("")

    def id(self) -> str | None:
        """Return the id of the job that runs, or that ran when the child died; None when no job runs."""
        return self._page.read().partition(" ")[0] or None

    def running_s(self) -> float:
        """Return for how many seconds the child has been drawing that job; negative once its images are drawn."""
        since = self._page.read().partition(" ")[2]  # the clock is the system's: both processes read the same one
        return time.monotonic() - float(since) if since else 0.0

    def claimed_count(self) -> int:
        """Return how many jobs this worker's children have claimed so far."""
        return int.from_bytes(self._claimed[:8])


class StoringJob:
    """The page with the id of the job whose images the child stores while it draws the next job."""

    def __init__(self) -> None:
        self._page = _TextPage()

    def set(self, job_id: str) -> None:
        """Write that the images of this job are being stored (in the child)."""
        self._page.write(job_id)

    def clear(self) -> None:
        """Write that no images are being stored (in the child, or in the main process for a child that died)."""
        self._page.write("")

    def id(self) -> str | None:
        """Return the id of that job; None when no images are being stored beside a drawing."""
        return self._page.read() or None


class Reporter(Protocol):
    """The runner's connection to the main process of its worker."""

    def task_started(self) -> None:
        """Report that a task begins: the main process ends a child whose task takes far too long."""
        ...

    def task_ended(self) -> None:
        """Report that no task runs any more."""
        ...

    def job_started(self, job_id: str) -> None:
        """Report that a job runs: from now on the main process renews its lease."""
        ...

    def job_drawn(self, job_id: str) -> None:
        """Report that the job's images wait to be stored: no time limit applies to that."""
        ...

    def device_checked(self) -> None:
        """Report that the known picture is drawn, to check the device."""
        ...

    def job_failed(self, error: str) -> None:
        """Report why a job failed, in a sentence without paths."""
        ...

    def stages_took(self, seconds: Mapping[str, float]) -> None:
        """Report the seconds that each stage of the last job took, once its images are stored."""
        ...

    def job_storing(self, job_id: str) -> None:
        """Report that the job's images are stored while the next job is drawn: its lease is still renewed."""
        ...

    def job_stored(self) -> None:
        """Report that they are stored."""
        ...

    def job_ended(self) -> None:
        """Report that no job runs any more."""
        ...

    def end_child(self, end: ChildEnd) -> None:
        """End this process, so that a fresh one loads the model."""
        ...

    def command(self) -> ChildCommand:
        """Return the main process's current command."""
        ...


@dataclass(frozen=True)
class SharedMemory:
    """All of one worker's shared memory. In the child it is the ``Reporter`` of the runner."""

    commands: ChildCommands = field(default_factory=ChildCommands)
    load_reports: LoadReports = field(default_factory=LoadReports)
    memory_reports: MemoryReports = field(default_factory=MemoryReports)
    running_job: RunningJob = field(default_factory=RunningJob)
    storing_job: StoringJob = field(default_factory=StoringJob)
    stages: ChildStages = field(default_factory=ChildStages)
    stage_times: StageTimes = field(default_factory=StageTimes)
    errors: ChildErrors = field(default_factory=ChildErrors)
    ends: ChildEnds = field(default_factory=ChildEnds)
    task_clock: TaskClock = field(default_factory=TaskClock)

    def loaded(self, operations: Iterable[str]) -> None:
        """Report that this child has loaded its model, which has these operations."""
        self.stages.set(ChildStage.IDLE)
        self.load_reports.write(LoadReport(os.getpid(), tuple(operations)))

    def task_started(self) -> None:
        """Report that a task begins, which may find a job or none."""
        self.task_clock.start(os.getpid())

    def task_ended(self) -> None:
        """Report that no task runs any more."""
        self.task_clock.stop()

    def job_started(self, job_id: str) -> None:
        """Report that a job runs: from now on the main process renews its lease."""
        self.running_job.set(job_id)
        self.stages.set(ChildStage.DRAWING)

    def device_checked(self) -> None:
        """Report that the child draws the known picture, to check the device."""
        self.stages.set(ChildStage.CHECKING)

    def job_failed(self, error: str) -> None:
        """Report why a job failed, or why the device did."""
        self.errors.write(error)

    def job_drawn(self, job_id: str) -> None:
        """Report that the job's images wait to be stored: no time limit applies to that."""
        self.running_job.set_drawn(job_id)
        self.stages.set(ChildStage.STORING)

    def stages_took(self, seconds: Mapping[str, float]) -> None:
        """Report the seconds that each stage of the last job took, once its images are stored."""
        self.stage_times.write(seconds)

    def job_storing(self, job_id: str) -> None:
        """Report that the job's images are being stored while the next job is drawn: its lease is still renewed."""
        self.storing_job.set(job_id)

    def job_stored(self) -> None:
        """Report that they are stored."""
        self.storing_job.clear()

    def held_jobs(self) -> list[str]:
        """Return the ids of the jobs that the child holds: the one that it runs, and the one that it stores."""
        return list(dict.fromkeys(filter(None, [self.running_job.id(), self.storing_job.id()])))

    def clear_held_jobs(self) -> None:
        """Write that a child that died holds no jobs."""
        self.running_job.clear()
        self.storing_job.clear()

    def job_ended(self) -> None:
        """Report that no job runs any more."""
        self.running_job.clear()
        self.stages.set(ChildStage.IDLE)

    def end_child(self, end: ChildEnd) -> None:
        """End this process, the child, so that a fresh one loads the model."""
        self.ends.write(end)
        logging.shutdown()
        os._exit(1)

    def command(self) -> ChildCommand:
        """Return the main process's current command."""
        return self.commands.current()
