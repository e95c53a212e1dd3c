"""How the C library keeps memory that was freed: in one heap, whose free pages go back to the system.

The runtime starts threads in each of its calls. glibc gives every thread one of up to eight heaps for each core
(mallopt(3), ``M_ARENA_MAX``) and keeps in each of them what was freed there, so for thousands of jobs each one touches
a few pages more: the resident memory grows by some KB a job, and nothing is lost (docs/measurements.md).
"""

import ctypes
from functools import cache
from typing import Any

_M_ARENA_MAX = -8  # of glibc's malloc.h


def give_back_freed_memory() -> None:
    """Give all whole pages of freed blocks back (``malloc_trim(3)``); nothing where the C library cannot do that."""
    trim = _of_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def use_one_heap() -> None:
    """Let all threads of this process, and of those that it forks, share one heap; nothing with another C library.

    To be called before the first thread starts. It wins over ``MALLOC_ARENA_MAX`` of the environment.
    """
    mallopt = _of_c_library("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


@cache
def _of_c_library(name: str) -> Any:
    """Return a function of the C library, None where it does not have it."""
    return getattr(ctypes.CDLL(None), name, None)
