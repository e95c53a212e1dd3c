"""The memory of this machine, or of the cgroup that limits it, and the share of it that a worker's child may take.

The files are those of Linux: proc(5), and the kernel's documents "cgroup-v1/memory" and "cgroup-v2" (``memory.max``).
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from config.cgroups import CGROUPS, PROC, cgroup_folders

# The rest is for Redis, the API, the workers' main processes and the files that the system keeps in memory.
_SHARE_OF_CHILDREN = 0.75


def child_memory_limit_bytes(memory_bytes: int, workers: int) -> int:
    """Return the bound of each child's resident memory, for so many workers on a machine with this memory."""
    return int(memory_bytes * _SHARE_OF_CHILDREN) // max(1, workers)


def memory_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the memory that this process may use: the machine's, or the least limit of the cgroups that it is in.

    ``proc`` and ``cgroups`` are where the kernel's files are. Raises OSError and ValueError for a machine without them.
    """
    found = re.search(r"^MemTotal:\s+(\d+) kB$", (proc / "meminfo").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{proc / 'meminfo'} has no MemTotal.")
    limits = (_limit(path) for path in _limit_files(proc, cgroups))
    return min([int(found[1]) * 1024, *(limit for limit in limits if limit is not None)])


def resident_bytes(pid: int | str = "self", proc: Path = PROC) -> int:
    """Return the memory of a process that is not swapped out, mapped files included. Raises OSError if it has ended."""
    # proc(5): the second number of statm is the resident memory in pages; it is read after each job.
    with open(f"{proc}/{pid}/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def computes_in_bf16(proc: Path = PROC) -> bool:
    """Return whether OpenVINO computes in bf16 on this CPU by itself: the CPU has AVX-512's or AMX's bf16."""
    try:
        found = re.search(r"^flags\s*:.*\b(avx512_bf16|amx_bf16)\b", (proc / "cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return found is not None


def _limit_files(proc: Path, cgroups: Path) -> Iterator[Path]:
    for folder in cgroup_folders("memory", proc, cgroups):
        yield folder.path / ("memory.max" if folder.version == 2 else "memory.limit_in_bytes")


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
