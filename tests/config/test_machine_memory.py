"""The memory of a machine or of its cgroup, read from made-up trees of files."""

import os
from pathlib import Path

import pytest

from config.machine_memory import child_memory_limit_bytes, computes_in_bf16, memory_bytes, resident_bytes
from tests.config.made_up_machine import MadeUpMachine

GIB = 2**30
V1_UNLIMITED = "9223372036854771712"


class Machine(MadeUpMachine):
    """A made-up machine whose memory is read."""

    def memory(self) -> int:
        return memory_bytes(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.fast
class TestMemory:
    def test_a_machine_without_cgroups_has_its_own_memory(self, machine: Machine) -> None:
        assert machine.memory() == 8 * GIB

    @pytest.mark.parametrize(("text", "expected"), [("max\n", 8 * GIB), (f"{3 * GIB}\n", 3 * GIB), ("0\n", 0)])
    def test_version_2(self, machine: Machine, text: str, expected: int) -> None:
        machine.write("proc/self/cgroup", "0::/system.slice/imagegen.service\n")
        machine.write("cgroup/system.slice/imagegen.service/memory.max", text)
        assert machine.memory() == expected

    def test_the_limit_of_a_cgroup_above_counts(self, machine: Machine) -> None:
        machine.write("proc/self/cgroup", "0::/a/b\n")
        machine.write("cgroup/a/b/memory.max", f"{5 * GIB}\n")
        machine.write("cgroup/a/memory.max", f"{2 * GIB}\n")
        assert machine.memory() == 2 * GIB

    @pytest.mark.parametrize("path", ["/", "/../..", "/docker/0123"])
    def test_a_container_sees_its_own_limit_at_the_root(self, machine: Machine, path: str) -> None:
        machine.write("proc/self/cgroup", f"0::{path}\n")
        machine.write("cgroup/memory.max", f"{4 * GIB}\n")
        assert machine.memory() == 4 * GIB

    @pytest.mark.parametrize(("text", "expected"), [(V1_UNLIMITED, 8 * GIB), (str(GIB), GIB)])
    def test_version_1(self, machine: Machine, text: str, expected: int) -> None:
        machine.write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/user:1\n0::/\n")
        machine.write("cgroup/memory/user:1/memory.limit_in_bytes", f"{text}\n")
        assert machine.memory() == expected

    def test_the_children_of_several_workers_share_three_quarters(self) -> None:
        assert child_memory_limit_bytes(8 * GIB, workers=1) == 6 * GIB
        assert child_memory_limit_bytes(8 * GIB, workers=3) == 2 * GIB


def test_this_machine_and_this_process_have_memory() -> None:
    assert 2**20 < resident_bytes() < memory_bytes()
    assert resident_bytes() == pytest.approx(resident_bytes(os.getpid()), rel=0.2)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("avx512f bf16x", False), ("", False)]
)
def test_a_cpu_computes_in_bf16_where_it_has_instructions_for_it(machine: Machine, flags: str, expected: bool) -> None:
    machine.write("proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n")
    assert computes_in_bf16(machine.proc) is expected


@pytest.mark.fast
def test_a_cpu_that_nothing_is_known_of_computes_in_f32(machine: Machine) -> None:
    assert not computes_in_bf16(machine.proc)
