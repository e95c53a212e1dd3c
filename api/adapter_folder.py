"""The folder of adapters that an API process was started with: brings the registry in line with it."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from api.added_adapters import check_fit, checked_digest
from graphs.definition.graph import Graph
from graphs.errors import AdapterMisfit
from graphs.families.family import Family
from graphs.repository.adapter_folder import scan_folder
from graphs.repository.repository import aliases_of
from workers.jobs.adapter_registry import AdapterRegistry, AddedAdapter, FolderFile

log = logging.getLogger(__name__)

_Seen = tuple[AddedAdapter, FolderFile]


@dataclass
class FolderChanges:
    """What a look at the folder changed, as aliases, and the files that it left out (path within it, sentence)."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def served(self) -> int:
        """How many adapters of the folder are served."""
        return len(self.added) + len(self.changed) + len(self.unchanged)


class AdapterFolder:
    """Adds the files of a folder to the adapters of one graph, and removes those that are gone."""

    def __init__(self, folder: Path, graph: Graph, family: Family, registry: AdapterRegistry, files: Executor) -> None:
        """``files`` runs what reads the folder."""
        self._folder = folder
        self._graph = graph
        self._family = family
        self._registry = registry
        self._files = files

    async def look(self) -> FolderChanges:
        """Look at the folder, and serve what it contains from now on; a file that cannot be served is left out.

        Raises RepositoryError if the folder cannot be read, and ServiceUnavailable; nothing has changed then.
        """
        files = await self._registry.folder_of(self._graph.name)
        added = {adapter.alias: adapter for adapter in await self._registry.added_to(self._graph.name)}
        known = {alias: (added[alias], file) for alias, file in files.items() if alias in added}
        taken = {self._graph.name, *aliases_of(self._graph), *(added.keys() - files.keys())}
        loop = asyncio.get_running_loop()
        changes, found = await loop.run_in_executor(self._files, self._compare, known, taken)
        changes.removed = sorted(files.keys() - {*changes.added, *changes.changed, *changes.unchanged})
        await self._registry.update_folder(self._graph.name, found, changes.removed)
        for file, reason in changes.left_out:
            log.warning("%s of the folder of adapters is left out: %s", file, reason)
        log.info("%d adapters of %s are served with %r", changes.served, self._folder, self._graph.name)
        return changes

    def _compare(self, known: Mapping[str, _Seen], taken: set[str]) -> tuple[FolderChanges, dict[str, _Seen]]:
        """Return what has changed, and the new and changed adapters. Raises RepositoryError."""
        scan = scan_folder(self._folder)
        changes = FolderChanges(left_out=[(self._name(path), reason) for path, reason in scan.left_out.items()])
        found: dict[str, _Seen] = {}
        for alias, path in scan.files.items():
            if alias in taken:
                reason = f"its alias {alias!r} is taken by a model or by another adapter; rename it."
                changes.left_out.append((self._name(path), reason))
                continue
            try:
                now = self._read(alias, path, known.get(alias))
            except (AdapterMisfit, OSError) as error:
                changes.left_out.append((self._name(path), f"it does not fit: {error}."))
                continue
            before = known.get(alias)
            is_same = before is not None and before[0] == now[0]
            (changes.unchanged if is_same else changes.changed if before else changes.added).append(alias)
            if now != before:
                found[alias] = now
        changes.left_out = sorted((_printable(file), _printable(reason)) for file, reason in changes.left_out)
        return changes, found

    def _read(self, alias: str, path: Path, before: _Seen | None) -> _Seen:
        """Return a file as an adapter. Its content is read only if the file looks different than before."""
        file = FolderFile.of(path)
        if before and before[1] == file and before[0].path == str(path):
            check_fit(path, self._graph, self._family)  # the model may be another one than before
            return before
        digest = checked_digest(path, self._graph, self._family)
        return AddedAdapter(alias, path.as_uri(), 1.0, str(path), digest), file

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


def _printable(text: str) -> str:
    """Return a text for logs and answers: a file's name may contain line breaks, and bytes that are not UTF-8."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
