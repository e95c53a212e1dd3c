"""What glibc keeps of freed memory is given back to the system."""

import subprocess
import sys

import pytest

from workers.process import free_memory
from workers.process.free_memory import give_back_freed_memory

_MIB = 2**20
# In a process of its own. Blocks of 100 KiB are taken from the heap, and the last one keeps glibc from giving the
# others back by itself. It prints the resident bytes before and after.
_PROGRAM = """
import ctypes
from config.machine_memory import resident_bytes
from workers.process.free_memory import give_back_freed_memory

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


@pytest.mark.usefixtures("processes")
def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, stdout=subprocess.PIPE, text=True)
    before, after = map(int, done.stdout.split())
    assert before - after > 90 * _MIB


def test_with_another_c_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory._malloc_trim.cache_clear()
    monkeypatch.setattr("workers.process.free_memory.ctypes.CDLL", lambda _: object())
    give_back_freed_memory()
    assert free_memory._malloc_trim() is None
    free_memory._malloc_trim.cache_clear()
