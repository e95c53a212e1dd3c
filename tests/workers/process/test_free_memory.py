"""A worker has one heap, and what glibc keeps of freed memory is given back to the system."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import JobSettings, RedisSettings, WorkerSettings
from tests.support.polling import wait_until
from tests.workers.jobs.jobs_support import look, submit
from tests.workers.process.worker_process import running_worker
from workers.jobs.status import Status
from workers.process.memory import free_memory
from workers.process.memory.free_memory import give_back_freed_memory, use_one_heap

_MIB = 2**20
# In a process of its own. Blocks of 100 KiB are taken from the heap, and the last one keeps glibc from giving the
# others back by itself. It prints the resident bytes before and after.
_PROGRAM = """
import ctypes
from config.machine_memory import resident_bytes
from workers.process.memory.free_memory import give_back_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
blocks = [library.malloc(ctypes.c_size_t(100 * 1024)) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 100 * 1024)
for block in blocks[:-1]:
    library.free(ctypes.c_void_p(block))
print(resident_bytes())
give_back_freed_memory()
print(resident_bytes())
"""
# It takes memory in eight threads at once, and prints its heaps.
_THREADS = """
import ctypes, sys, threading
from tests.workers.process.test_free_memory import further_heaps
from workers.process.memory.free_memory import use_one_heap

if sys.argv[1] == "one":
    use_one_heap()
together = threading.Barrier(8)


def take():
    together.wait()
    ctypes.CDLL(None).malloc(1000)
    together.wait()
    if threading.current_thread().name == "last":
        print(further_heaps("self"))
    together.wait()


threads = [threading.Thread(target=take, name="last" if number == 7 else None) for number in range(8)]
for thread in threads:
    thread.start()
"""
_HEAP_BYTES = 64 * _MIB


def further_heaps(pid: int | str) -> int:
    """Return how many heaps a process has beside its first one: glibc reserves 64 MiB at a multiple of it for each."""
    found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) 0+ 00:00 0 *$", Path(f"/proc/{pid}/maps").read_text(), re.M)
    taken = {int(start, 16): int(end, 16) for start, end, rights in found if rights.startswith("rw")}
    left = {int(start, 16): int(end, 16) for start, end, rights in found if rights.startswith("---")}
    return sum(start % _HEAP_BYTES == 0 and left.get(end, end) == start + _HEAP_BYTES for start, end in taken.items())


@pytest.mark.usefixtures("processes")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, stdout=subprocess.PIPE, text=True)
    before, after = map(int, done.stdout.split())
    assert before - after > 90 * _MIB


def test_with_another_c_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory._of_c_library.cache_clear()
    monkeypatch.setattr("workers.process.memory.free_memory.ctypes.CDLL", lambda _: object())
    give_back_freed_memory()
    use_one_heap()
    assert free_memory._of_c_library("malloc_trim") is None
    free_memory._of_c_library.cache_clear()


@pytest.mark.usefixtures("processes")
def test_all_threads_share_one_heap() -> None:
    heaps = [
        int(subprocess.run([sys.executable, "-c", _THREADS, how], check=True, stdout=subprocess.PIPE, text=True).stdout)
        for how in ("many", "one")
    ]
    assert heaps[0] > 3
    assert heaps[1] == 0


@pytest.mark.usefixtures("processes")
def test_a_worker_has_one_heap(redis_settings: RedisSettings, tmp_path: Path) -> None:
    with running_worker(redis_settings, tmp_path / "log", JobSettings(), worker=WorkerSettings()) as worker:
        job = submit(redis_settings, num_inference_steps=1)
        worker.wake()
        wait_until(lambda: look(redis_settings, job).status is Status.COMPLETED, deadline_s=180)
        assert further_heaps(worker.child()) == 0
        assert further_heaps(worker.process.pid) == 0
