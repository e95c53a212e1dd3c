"""The CPUs that a machine, an affinity and the quota of a cgroup leave: made-up files, and real limits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.cgroups import CGROUPS, CgroupFolder, cgroup_folders
from config.machine_cpus import CpuQuota, MachineCpus, machine_cpus
from tests.config.made_up_machine import MadeUpMachine

ROOT = Path(__file__).parents[2]
PROGRAM = "from config.machine_cpus import machine_cpus as read; print(read().most_threads, read().sentence())"


@pytest.fixture
def machine(tmp_path: Path) -> MadeUpMachine:
    return MadeUpMachine(tmp_path)


def _quota(machine: MadeUpMachine) -> CpuQuota | None:
    return machine_cpus(machine.proc, machine.cgroups).quota


class TestQuota:
    def test_a_machine_without_cgroups_has_none(self, machine: MadeUpMachine) -> None:
        assert machine_cpus(machine.proc, machine.cgroups) == MachineCpus(
            os.cpu_count() or 1, len(os.sched_getaffinity(0))
        )

    @pytest.mark.parametrize(
        ("text", "cpus"),
        [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 200000\n", 0.25), ("", None), ("1 0\n", None)],
    )
    def test_version_2(self, machine: MadeUpMachine, text: str, cpus: float | None) -> None:
        machine.write("proc/self/cgroup", "0::/system.slice/imagegen.service\n")
        machine.write("cgroup/system.slice/imagegen.service/cpu.max", text)
        path = machine.cgroups / "system.slice" / "imagegen.service" / "cpu.max"
        assert _quota(machine) == (None if cpus is None else CpuQuota(cpus, path))

    def test_the_least_quota_of_those_above_holds(self, machine: MadeUpMachine) -> None:
        machine.write("proc/self/cgroup", "0::/a/b/c\n")
        for folder, text in (("a", "200000 100000"), ("a/b", "150000 100000"), ("a/b/c", "max 100000")):
            machine.write(f"cgroup/{folder}/cpu.max", text)
        assert _quota(machine) == CpuQuota(1.5, machine.cgroups / "a" / "b" / "cpu.max")

    @pytest.mark.parametrize("path", ["/", "/../..", "/docker/0123"])
    def test_a_container_sees_its_own_at_the_root(self, machine: MadeUpMachine, path: str) -> None:
        machine.write("proc/self/cgroup", f"0::{path}\n")
        machine.write("cgroup/cpu.max", "400000 100000\n")
        assert _quota(machine) == CpuQuota(4, machine.cgroups / "cpu.max")

    @pytest.mark.parametrize(("quota", "cpus"), [("-1", None), ("250000", 2.5)])
    def test_version_1(self, machine: MadeUpMachine, quota: str, cpus: float | None) -> None:
        machine.write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,cpuacct:/user:1\n3:cpuset:/x\n0::/\n")
        machine.write("cgroup/cpu/user:1/cpu.cfs_quota_us", f"{quota}\n")
        machine.write("cgroup/cpu/user:1/cpu.cfs_period_us", "100000\n")
        path = machine.cgroups / "cpu" / "user:1" / "cpu.cfs_quota_us"
        assert _quota(machine) == (None if cpus is None else CpuQuota(cpus, path))

    def test_version_1_without_a_period(self, machine: MadeUpMachine) -> None:
        machine.write("proc/self/cgroup", "4:cpu:/\n")
        machine.write("cgroup/cpu/cpu.cfs_quota_us", "100000\n")
        assert _quota(machine) is None


@pytest.mark.parametrize(
    ("allowed", "cpus", "threads"),
    [
        *((8, None, None), (8, 8, None), (8, 64, None), (8, 7.5, None), (1, 0.5, None)),
        *((8, 7, 7), (8, 1.5, 2), (8, 1, 1), (8, 0.01, 1), (2, 1, 1)),
    ],
)
def test_threads_are_bounded_only_where_the_quota_takes_a_whole_cpu(
    allowed: int, cpus: float | None, threads: int | None
) -> None:
    quota = None if cpus is None else CpuQuota(cpus, Path("/q"))
    assert MachineCpus(16, allowed, quota).most_threads == threads


@pytest.mark.parametrize(
    ("cpus", "sentence"),
    [
        (MachineCpus(2, 2), "2 CPUs: all that the machine has."),
        (MachineCpus(1, 1, CpuQuota(1, Path("/q"))), "1 CPU: all that the machine has."),
        (
            MachineCpus(8, 3, CpuQuota(4, Path("/q"))),
            "3 CPUs of the machine's 8: this process may run on no other (its affinity: a cpuset, or taskset).",
        ),
        (
            MachineCpus(8, 4, CpuQuota(1.5, Path("/sys/cpu.max"))),
            "1.5 CPUs of the machine's 8, by the quota of /sys/cpu.max; a model on the CPU is computed with 2 threads.",
        ),
        (
            MachineCpus(2, 2, CpuQuota(1, Path("/q"))),
            "1 CPU of the machine's 2, by the quota of /q; a model on the CPU is computed with 1 thread.",
        ),
    ],
)
def test_a_sentence_says_how_many_and_why(cpus: MachineCpus, sentence: str) -> None:
    assert cpus.sentence() == sentence


def _run(*before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.usefixtures("processes")
def test_a_real_affinity() -> None:
    last = max(os.sched_getaffinity(0))
    machine = os.cpu_count() or 1
    expected = f"1 CPU of the machine's {machine}: this process may run on no other" if machine > 1 else "1 CPU: all"
    assert _run("taskset", "-c", str(last)).startswith(f"None {expected}")


@pytest.fixture
def real_cgroup() -> Iterator[CgroupFolder]:
    """A cgroup below that of this process, in which it can limit CPU time."""
    for parent in cgroup_folders("cpu"):
        made = parent.path / f"imagegen-test-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            if (made / ("cpu.max" if parent.version == 2 else "cpu.cfs_quota_us")).exists():
                yield CgroupFolder(made, parent.version)
                return
        finally:
            made.rmdir()
    pytest.skip(f"this process may make no cgroup with a limit of CPU time below {CGROUPS}")


@pytest.mark.usefixtures("processes")
def test_a_real_quota(real_cgroup: CgroupFolder) -> None:
    folder = real_cgroup.path
    if real_cgroup.version == 2:
        (folder / "cpu.max").write_text("50000 100000")
    else:
        (folder / "cpu.cfs_quota_us").write_text("50000")
    said = _run("sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$@"', "sh")
    threads = 1 if len(os.sched_getaffinity(0)) > 1 else None
    assert said.startswith(f"{threads} 0.5 CPUs of the machine's {os.cpu_count()}, by the quota of {folder}/cpu.")
