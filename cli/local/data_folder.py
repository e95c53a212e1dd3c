"""The data folder of ``imagegen serve``: private to the user, and used by one process at a time."""

import fcntl
import grp
import multiprocessing
import os
import pwd
import stat
import tempfile
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
    for reason in _ways_to_replace(folder):
        raise UserError(reason)
    folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Return whether only this user can enter the folder, and no other user can put another one in its place."""
    try:
        found = folder.lstat()
        is_closed = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        return is_closed and not any(_ways_to_replace(folder))
    except OSError:
        return False


def require_temporary_folder() -> None:
    """Raise UserError where no folder for temporary files can be written."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError(
            "no folder for temporary files can be written, such as /tmp; mount one there, or set TMPDIR."
        ) from error


def require_shared_memory() -> None:
    """Raise UserError where no shared memory can be had, in which workers have semaphores; the API needs none."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise UserError(
            f"workers need shared memory, and /dev/shm cannot be used: {error.strerror}; mount a tmpfs there."
        ) from error


def _ways_to_replace(folder: Path) -> Iterator[str]:
    """Yield a sentence for each entry above a folder through which another user can put another folder in its place.

    The owner of an entry can do so, and all who can write to it, as they can rename what it contains. In a sticky
    folder (/tmp) they cannot.
    """
    for entry in _with_all_above(folder.absolute().parent):
        found = entry.lstat()
        if found.st_uid not in (os.geteuid(), _ROOT):
            yield f"{entry} belongs to another user, who can replace what is in it; give --data_dir."
        elif stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX:
            continue
        elif found.st_mode & stat.S_IWOTH:
            yield f"every user of this machine can write to {entry}; chmod it, or give --data_dir."
        elif found.st_mode & stat.S_IWGRP and _has_others(found.st_gid):
            group = _group_name(found.st_gid)
            yield f"other users of the group {group} can write to {entry}; chmod it, or give --data_dir."


def _with_all_above(path: Path) -> Iterator[Path]:
    """Yield an entry and those above it, also of what the links among them name."""
    for entry in (path, *path.parents):
        yield entry
        if entry.is_symlink():
            yield from _with_all_above(entry.parent / entry.readlink())


def _has_others(group_id: int) -> bool:
    """Return whether a group may have other users than this one and root.

    A user's own group has the user's name (Debian, Fedora), and no other user is listed in it. Containers are started
    in groups that have no name inside them.
    """
    try:
        group = grp.getgrgid(group_id)
    except KeyError:
        return group_id not in (os.getegid(), *os.getgroups())
    own_names = {_user_name(os.geteuid()), _user_name(_ROOT)}
    return group.gr_name not in own_names or not own_names.issuperset(group.gr_mem)


def _user_name(user_id: int) -> str | None:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return None


def _group_name(group_id: int) -> str:
    try:
        return grp.getgrgid(group_id).gr_name
    except KeyError:
        return str(group_id)


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
