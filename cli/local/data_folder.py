"""The data folder of ``imagegen serve``: private to the user, and used by one process at a time."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import UserError
from cli.polling import attempts

# The processes of a killed `serve` release the lock a moment after it.
_RELEASED_WITHIN_S = 1.0
_RETRY_EVERY_S = 0.05
_ROOT = 0


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
    """Return whether an `imagegen serve`, or the Redis of a killed one, holds the folder's lock."""
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


def make_private(folder: Path) -> None:
    """Make the folder one that only this user can enter, creating it. Raises UserError where others can replace it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_private(folder):
        return
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user, or is a link; remove it or give --data_dir.")
    if folder.parent.stat().st_uid not in (os.geteuid(), _ROOT):
        raise UserError(f"{folder.parent} belongs to another user, who can replace what is in it; give --data_dir.")
    if open_parent := _open_parent(folder):
        raise UserError(f"every user of this machine can write to {open_parent}; chmod it, or give --data_dir.")
    folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Return whether only this user can enter the folder, and no other user can put another one in its place."""
    try:
        found = folder.lstat()
        is_closed = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        return is_closed and folder.parent.stat().st_uid in (os.geteuid(), _ROOT) and _open_parent(folder) is None
    except OSError:
        return False


def _open_parent(folder: Path) -> Path | None:
    """Return a folder above this one in which every user can rename what others own, None where there is none."""
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return parent
    return None


def _open(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"the data directory {folder} cannot be used: {error.strerror}; give another with --data_dir."
        ) from error


def _lock(lock: int, folder: Path) -> None:
    for _ in attempts(_RELEASED_WITHIN_S, _RETRY_EVERY_S):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            continue
    raise UserError(f"another imagegen serve uses this data directory ({folder}); stop it or give --data_dir.")
