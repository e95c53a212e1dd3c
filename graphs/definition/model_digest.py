"""The digest of a model: it tells two models apart that servers have under one name."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from graphs.definition.graph import Graph

_DIGITS = 16
# The part that draws, as the families name it; where its weights are, all the others are taken to be.
_DENOISERS = ("unet", "transformer")
_WEIGHTS = "openvino_model.bin"
# The parts without a config.json.
_OTHER_PARTS = ("scheduler", "tokenizer")
# What the runtime reads. Other files beside them, such as a README, change no image.
_KINDS = (".bin", ".json", ".model", ".txt", ".xml")
# They are those of a machine: where its files are, and what draws.
_OF_MACHINE = ("models_path", "device", "lora_adapters")
_UNSET: tuple[JsonValue, ...] = (None, {}, [])


def model_digest(graph: Graph, options: Mapping[str, JsonValue]) -> str:
    """Return the digest of a model: of its graph.pbtxt, its imagegen.toml, and the names and sizes of its files.

    ``options`` are those of its imagegen.toml files that are not at their defaults.

    Paths, devices, comments and order of a graph.pbtxt do not count, and of the sizes only those of files that a
    worker loads. Adapters that are added while the service runs do not count: they are in Redis, for all processes.
    Returns '' where this machine has not the model's weights, as that of an API may: then it is not known.
    """
    try:
        return _digest(graph, options)
    except OSError:
        return ""


def _digest(graph: Graph, options: Mapping[str, JsonValue]) -> str:
    if not any((graph.models_path / part / _WEIGHTS).is_file() for part in _DENOISERS):
        return ""
    content = {
        # Unset options are left out, so that a release that knows more of them has the same digest.
        "graph": {
            name: value for name, value in graph.options().items() if value not in _UNSET and name not in _OF_MACHINE
        },
        "adapters": [
            [one.alias, one.mode.value, one.alpha, one.path.name, _size(one.path)] for one in graph.lora_adapters
        ],
        "options": dict(options),
        "files": [[name, _size(path)] for name, path in sorted(_files(graph.models_path))],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a model with their names below its folder: model_index.json, and those of its parts."""
    yield "model_index.json", folder / "model_index.json"
    for part in folder.iterdir():
        if part.is_dir() and (part.name.startswith(_OTHER_PARTS) or (part / "config.json").exists()):
            yield from ((f"{part.name}/{path.name}", path) for path in part.iterdir() if path.suffix in _KINDS)


def _size(path: Path) -> int:
    """Return the size of a file in bytes, -1 where it cannot be read; then what loads it says why."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
