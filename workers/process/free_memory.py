"""Gives the memory that this process has freed back to the system.

The runtime takes and frees blocks of all sizes in several threads. glibc keeps what was freed, and for thousands of
jobs each one touches a few pages more of it, so that the resident memory grows without anything being lost.
"""

import ctypes
from functools import cache
from typing import Any


def give_back_freed_memory() -> None:
    """Give all whole pages of freed blocks back (``malloc_trim(3)``); nothing where the C library cannot do that."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    """Return glibc's function, None with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
