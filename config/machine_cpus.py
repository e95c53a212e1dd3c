"""The CPUs of this machine, or those that the process's affinity and the quota of its cgroup leave of them.

The files of a quota are those of Linux: the kernel's documents "sched-bwc" (``cpu.cfs_quota_us``) and "cgroup-v2"
(``cpu.max``).
"""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.cgroups import CGROUPS, PROC, CgroupFolder, cgroup_folders


@dataclass(frozen=True)
class CpuQuota:
    """How much CPU time the processes of a cgroup get together, in CPUs; and the file that says so."""

    cpus: float
    path: Path


@dataclass(frozen=True)
class MachineCpus:
    """The CPUs of the machine, those that this process may run on, and its quota if it has one."""

    machine: int
    allowed: int
    quota: CpuQuota | None = None

    @property
    def most_threads(self) -> int | None:
        """How many threads are worth computing with under the quota; None where it leaves every allowed CPU.

        A part of a CPU counts as a whole one: with fewer threads, that part of the quota would not be used.
        """
        if self.quota is None or self.quota.cpus > self.allowed - 1:
            return None
        return max(1, math.ceil(self.quota.cpus))

    def sentence(self) -> str:
        """Return how many CPUs there are, and where the limit comes from."""
        if self.quota is not None and self.quota.cpus < self.allowed:
            threads = self.most_threads or self.allowed
            return (
                f"{_counted(self.quota.cpus)} of the machine's {self.machine}, by the quota of {self.quota.path}; "
                f"a model on the CPU is computed with {_counted(threads, 'thread')}."
            )
        if self.allowed < self.machine:
            return (
                f"{_counted(self.allowed)} of the machine's {self.machine}: "
                "this process may run on no other (its affinity: a cpuset, or taskset)."
            )
        return f"{_counted(self.machine)}: all that the machine has."


def machine_cpus(proc: Path = PROC, cgroups: Path = CGROUPS) -> MachineCpus:
    """Return the CPUs of this machine and what of them this process may use.

    ``proc`` and ``cgroups`` are where the kernel's files are. Of several quotas, the least holds.
    """
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else machine
    quotas = (quota for folder in cgroup_folders("cpu", proc, cgroups) for quota in _quotas(folder))
    return MachineCpus(machine, allowed, min(quotas, key=lambda quota: quota.cpus, default=None))


def _quotas(folder: CgroupFolder) -> Iterator[CpuQuota]:
    """Yield the quota of a cgroup; nothing where it has none."""
    path = folder.path / ("cpu.max" if folder.version == 2 else "cpu.cfs_quota_us")
    try:
        texts = path.read_text().split()
        if folder.version == 1:
            texts.append((folder.path / "cpu.cfs_period_us").read_text().strip())
    except OSError:
        return
    if len(texts) == 2 and all(text.isdecimal() for text in texts) and int(texts[1]):  # no quota: "max", or -1
        yield CpuQuota(int(texts[0]) / int(texts[1]), path)


def _counted(number: float, what: str = "CPU") -> str:
    return f"{number:.3g} {what}{'' if number == 1 else 's'}"
