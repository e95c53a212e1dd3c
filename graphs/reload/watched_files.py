"""Notices that the files of models have changed, by looking at them every so often.

Looking works everywhere, also where the system tells of no changes: in folders of another machine (NFS), and in volumes
that a container's platform puts in place by moving a link.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff, EmptyDirectorySnapshot

# What the server and its workers read. Other files beside them, such as a log, are none of theirs.
_SUFFIXES = (".bin", ".json", ".model", ".pbtxt", ".safetensors", ".toml", ".txt", ".xml")
_DEEPEST = 10  # two more than a models directory is searched (repository/servables.py): the parts of a model
# Files that never come to rest are taken as they are after so many looks.
_MOST_UNSETTLED = 30


class WatchedFiles:
    """Files and folders, and how they looked the last time."""

    def __init__(self, places: Callable[[], Iterable[Path]]) -> None:
        """``places()`` returns what to look at, with all that is below the folders; it may return others each time."""
        self._places = places
        self._seen: dict[Path, DirectorySnapshot] = {}
        self._changed: set[str] = set()
        self._unsettled = 0

    def look(self) -> list[str]:
        """Return the paths that have changed since they were returned last, once they have stopped changing.

        A place that is new counts as changed: it may have been read before this look. A file that is being copied
        changes from look to look; so nothing is returned until two looks agree.
        """
        places = _outermost(self._places())
        found = {place: _snapshot(place) for place in places}
        changed = {path for place in places for path in _changes(self._seen.get(place), found[place], place)}
        self._seen = found
        self._changed |= changed
        self._unsettled = self._unsettled + 1 if changed else 0
        if not self._changed or (changed and self._unsettled < _MOST_UNSETTLED):
            return []
        settled = sorted(self._changed)
        self._changed = set()
        self._unsettled = 0
        return settled


def _outermost(places: Iterable[Path]) -> list[Path]:
    """Return the places that are not inside of another one."""
    found = set(places)
    return sorted(place for place in found if found.isdisjoint(place.parents))


def _snapshot(place: Path) -> DirectorySnapshot:
    deepest = len(place.parts) + _DEEPEST
    try:
        return DirectorySnapshot(str(place), listdir=lambda folder: _entries(folder or "", deepest))
    except OSError:  # it is not there, or may not be read
        return EmptyDirectorySnapshot()


def _entries(folder: str, deepest: int) -> Iterator["os.DirEntry[str]"]:
    """Yield what a folder contains, without hidden entries and files of other kinds."""
    if len(Path(folder).parts) >= deepest:  # a link to a folder above it would never end
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and (entry.name.endswith(_SUFFIXES) or entry.is_dir()):
                yield entry


def _changes(before: DirectorySnapshot | None, now: DirectorySnapshot, place: Path) -> Iterator[str]:
    if before is None:
        yield str(place)
        return
    diff = DirectorySnapshotDiff(before, now)
    for paths in (diff.files_created, diff.files_deleted, diff.files_modified):
        yield from map(str, paths)
    for moved in (diff.files_moved, diff.dirs_moved):
        yield from (str(path) for pair in moved for path in pair)
