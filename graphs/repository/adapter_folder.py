"""A folder of adapters, as people keep them: each .safetensors file below it has an alias made of its name.

The alias is the file's name without its ending. Accents are taken off letters, and every other character that an
alias cannot have becomes one ``-``: ``Tinte é (v2).safetensors`` has the alias ``Tinte-e-v2``.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from graphs.adapters.addresses import SUFFIX
from graphs.adapters.sources import mode_for
from graphs.definition.graph import Graph, LoraMode
from graphs.errors import RepositoryError
from graphs.repository.repository import Repository

_DEEPEST = 4  # folders inside folders
_MOST_FILES = 2000
_LONGEST_ALIAS = 100  # as in the body of POST lora_adapters
_NOT_IN_ALIAS = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
# Beside a file that is still being downloaded, some programs keep one of its name and such an ending.
_UNFINISHED = (".part", ".aria2", ".crdownload")


@dataclass
class FolderScan:
    """What a folder contains: its adapters by alias, and why a file is left out."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)


def alias_of(file: Path) -> str:
    """Return the alias of a file, '' if its name has no character for one."""
    decomposed = unicodedata.normalize("NFKD", file.name[: -len(SUFFIX)])
    without_accents = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _NOT_IN_ALIAS.sub("-", without_accents).strip("-.")


def scan_folder(folder: Path) -> FolderScan:
    """Find the adapters in a folder and in the folders inside it, without opening any file.

    Hidden files and folders and unfinished downloads are passed over. Of several files with one alias, the one in the
    fewest folders is taken, and of these the first by name. Raises RepositoryError if the folder cannot be read.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise RepositoryError(f"{folder}: The folder of adapters cannot be read: {error.strerror}.") from None
    scan = FolderScan()
    found = list(_below(folder, (folder.resolve(),), scan))
    for file in sorted(found, key=lambda path: (len(path.parts), str(path))):
        alias = alias_of(file)
        if not alias or len(alias) > _LONGEST_ALIAS:
            scan.left_out[file] = f"its name gives no alias of 1 to {_LONGEST_ALIAS} letters and digits; rename it."
        elif alias in scan.files:
            other = scan.files[alias].relative_to(folder)
            scan.left_out[file] = f"its alias {alias!r} is that of {other}; rename one of them."
        elif len(scan.files) == _MOST_FILES:
            scan.left_out[file] = f"a folder of adapters has at most {_MOST_FILES} files."
        else:
            scan.files[alias] = file
    return scan


def graph_of_folder(folder: Path, repository: Repository) -> Graph:
    """Return the graph that a folder of adapters is for. Raises RepositoryError if there is none that takes them."""
    graph = repository.base_graph
    if graph is None:
        names = ", ".join(repository.graphs)
        raise RepositoryError(
            f"--lora_folder is for a single model, and several are served ({names}); choose one with --model_path."
        )
    if not takes_adapters(graph):
        raise RepositoryError(
            f"--lora_folder is for adapters that are switched with each request, and those of {graph.name!r} are "
            "compiled in (mode STATIC, as on the NPU); name them with --source_loras or in graph.pbtxt."
        )
    scan_folder(folder)
    return graph


def takes_adapters(graph: Graph) -> bool:
    """Return whether adapters can be added to a graph while it is served."""
    static = any(adapter.mode is LoraMode.STATIC for adapter in graph.lora_adapters)
    return not static and mode_for(graph.device) is LoraMode.DYNAMIC


def _below(folder: Path, ancestors: tuple[Path, ...], scan: FolderScan) -> Iterator[Path]:
    """Yield the adapters in a folder, following symbolic links; ``ancestors`` are it and the folders above it."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        scan.left_out[folder] = f"the folder cannot be read: {error.strerror}."
        return
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.is_dir():
            real = entry.resolve()
            if real in ancestors:  # a link to a folder above it would never end
                continue
            if len(ancestors) > _DEEPEST:
                scan.left_out[entry] = f"it is more than {_DEEPEST} folders deep, and is not searched."
            else:
                yield from _below(entry, (*ancestors, real), scan)
        elif entry.suffix.lower() == SUFFIX and not names & {f"{entry.name}{ending}" for ending in _UNFINISHED}:
            yield entry
