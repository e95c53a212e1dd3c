"""The folders of the cgroups that this process is in, where the kernel keeps their limits.

The files are those of Linux: cgroups(7), and the kernel's documents "cgroup-v1" and "cgroup-v2".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class CgroupFolder:
    """The folder of a cgroup, and the version of the interface that its files have."""

    path: Path
    version: Literal[1, 2]


def cgroup_folders(controller: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[CgroupFolder]:
    """Yield the folders of this process's cgroups and of those above them, of both versions, lowest first.

    ``controller`` is the kernel's name of what is limited, such as ``memory``. Folders that are not there are yielded
    too: inside a container, only that of the root may be. Yields nothing on a machine without cgroups.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield from (CgroupFolder(folder, 2) for folder in _upwards(cgroups, path))
        elif controller in controllers.split(","):
            yield from (CgroupFolder(folder, 1) for folder in _upwards(cgroups / controller, path))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for count in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:count])
