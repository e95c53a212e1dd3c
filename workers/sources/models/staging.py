"""The hidden folder in which the files of a model gather, until it appears under its name."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from graphs.errors import ConfigurationError
from workers.sources.models.listing import RepositoryFile
from workers.sources.models.selection import MODEL_INDEX
from workers.sources.models.source import ModelSource

_LISTING = ".listing.json"
# The commit whose files the folder has; and that they are all there, and are being converted.
_COMMIT = ".commit"
_WHOLE = ".whole"
# What a file system needs beside the files themselves.
_SPARE_BYTES = 64 * 2**20


def stage_of(root: Path, source: ModelSource) -> Path:
    """Return the folder of a model below the folder of models."""
    target = root.expanduser().absolute() / source.name
    return target.with_name(f".{target.name}.part")


def listing_file(stage: Path, source: ModelSource) -> Path:
    """Return where the listing of a revision is kept."""
    return stage / f"{_LISTING}.{source.revision.replace('/', '_')}"


@contextmanager
def locked(stage: Path) -> Iterator[None]:
    """Create the folder in which the files gather, and hold its lock. Raises ConfigurationError, OSError."""
    stage.mkdir(parents=True, exist_ok=True)
    lock = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another process pulls this model ({stage} is locked); wait until it has ended."
            ) from None
        yield
    finally:
        os.close(lock)


def keep_only(stage: Path, commit: str) -> None:
    """Empty a staging folder of the files of another commit: those of the same size would be taken for this one's."""
    written = stage / _COMMIT
    before = written.read_text(encoding="utf-8") if written.is_file() else commit
    for path in stage.iterdir() if before != commit else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith(_LISTING):
            path.unlink()
    written.write_text(commit, encoding="utf-8")


def check_room(stage: Path, files: Sequence[RepositoryFile]) -> None:
    """Raise ConfigurationError where the disk has no room for the files that are not here."""
    needed = left_bytes(stage, files) + _SPARE_BYTES
    free = shutil.disk_usage(stage).free
    if free < needed:
        raise ConfigurationError(
            f"the model needs {needed / 2**20:,.0f} MiB more on the disk of {stage.parent}, which has "
            f"{free / 2**20:,.0f} MiB free; make room, or choose another folder with --model_repository_path."
        )


def left_bytes(stage: Path, files: Sequence[RepositoryFile]) -> int:
    """Return the bytes of these files that are not here yet."""
    here = sum(_size(stage / file.name) or _size(stage / f"{file.name}.part") for file in files)
    return sum(file.size for file in files) - here


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def appear(stage: Path, target: Path) -> None:
    """Give the folder its name, in the place of one that is there."""
    for left in (*stage.glob(f"{_LISTING}*"), stage / _COMMIT):
        left.unlink(missing_ok=True)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(stage, target)
    shutil.rmtree(old, ignore_errors=True)


def mark_whole(stage: Path) -> None:
    """Note that all files are here, and are being converted."""
    (stage / _WHOLE).touch()


def remove_converted(stage: Path, target: Path) -> None:
    """Remove the files of a model that was converted: the process was killed before it could do so."""
    whole = stage / _WHOLE
    if whole.is_file() and whole.stat().st_mtime <= (target / MODEL_INDEX).stat().st_mtime:
        shutil.rmtree(stage, ignore_errors=True)
