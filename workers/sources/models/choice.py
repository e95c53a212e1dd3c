"""Which files of a repository are brought, and in which form its model is: OpenVINO's, or PyTorch's to be converted."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import ConfigurationError
from graphs.families.model_facts import read_model_facts
from workers.sources.models.selection import MODEL_INDEX, files_to_serve
from workers.sources.models.torch_selection import files_to_convert, is_weight


@dataclass(frozen=True)
class Choice:
    """The files that are brought; ``is_torch`` is true where they are to be converted."""

    files: list[str]
    is_torch: bool

    @property
    def weights(self) -> list[str]:
        """The files with weights of PyTorch."""
        return [file for file in self.files if self.is_torch and is_weight(file)]


def choose_files(name: str, index: bytes, files: Iterable[str]) -> Choice:
    """Return what is brought of a repository: its OpenVINO files where it has all of them, else those of PyTorch.

    ``index`` is the content of model_index.json. Raises ConfigurationError where there is neither.
    """
    files = list(files)
    try:
        return Choice(files_to_serve(name, index, files), is_torch=False)
    except ConfigurationError:
        found = files_to_convert(name, index, files)
        if found is None:
            raise
        return Choice(found, is_torch=True)


def whole_in(folder: Path) -> Choice | None:
    """Return what a folder of the Hub's cache has, None unless it has all that serving, or a conversion, needs."""
    held = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        choice = choose_files(folder.name, (folder / MODEL_INDEX).read_bytes(), held)
        read_model_facts(folder)
        is_whole = _has_shards(folder, choice) if choice.is_torch else _has_networks(folder)
    except (ConfigurationError, OSError, ValueError, KeyError):
        return None
    return choice if is_whole else None


def _has_networks(folder: Path) -> bool:
    """Return whether the weights of each network are there: a stopped download may lack them."""
    networks = [xml for part in folder.iterdir() if part.is_dir() for xml in part.glob("openvino_*.xml")]
    return all(network.with_suffix(".bin").is_file() for network in networks)


def _has_shards(folder: Path, choice: Choice) -> bool:
    """Return whether all files that an index of weights names are chosen."""
    indexes = [file for file in choice.files if ".safetensors.index" in file]
    named = [
        f"{Path(index).parent}/{file}"
        for index in indexes
        for file in json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()
    ]
    return set(named) <= set(choice.files)
