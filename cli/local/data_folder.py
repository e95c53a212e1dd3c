"""The folder where ``imagegen serve`` keeps its data: its own, and used by one process at a time."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import UserError

# Processes of a killed `serve` are gone a moment after it, not in the same instant.
_PATIENCE_S = 1.0


@contextmanager
def locked_data_folder(folder: Path) -> Iterator[int]:
    """Create the folder, hold its lock, and yield the lock's file descriptor.

    A child that inherits the descriptor holds the lock for as long as it lives. Raises UserError.
    """
    lock = _open(folder)
    try:
        _lock(lock, folder)
        yield lock
    finally:
        os.close(lock)


def is_in_use(folder: Path) -> bool:
    """Tell whether an `imagegen serve` (or the Redis it left behind) holds the folder's lock."""
    try:
        lock = os.open(folder / "serve.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _open(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"the data directory {folder} cannot be used: {error.strerror}; give another with --data_dir."
        ) from error


def _lock(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    pause = threading.Event()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"another imagegen serve uses this data directory ({folder}); stop it or give --data_dir."
                ) from error
        pause.wait(0.05)
