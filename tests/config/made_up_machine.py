"""Made-up /proc and /sys/fs/cgroup: files of the kernel for a machine with other limits than this one."""

from pathlib import Path


class MadeUpMachine:
    """The folders of a machine with 8 GiB, in which a test writes what else the kernel says."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.cgroups = folder / "cgroup"
        self._folder = folder
        self.write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1000 kB\n")

    def write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
