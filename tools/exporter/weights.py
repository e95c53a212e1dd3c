"""Loads the weights of a part exactly as its files hold them, or says which do not fit.

transformers and diffusers only warn of keys that they do not know, and fill the others with random numbers: a text
encoder whose keys lack the prefix that a release expects would be converted without an error, and draw nonsense.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

# What stands before a key in the file, and before the module's name: releases of transformers saved the same text
# encoder with and without it, and Qwen2.5-VL's two halves under other names than its class has.
_PREFIXES = (
    ("", "text_model."),
    ("text_model.", ""),
    ("model.", "model.language_model."),
    ("visual.", "model.visual."),
)
# Counters that the model makes itself; older files hold them, newer ones do not.
_MADE_BY_MODEL = ("position_ids",)
_MOST_NAMED = 5


class WeightsError(Exception):
    """The files of a part do not hold what it needs; the message is a sentence."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a part, those of full precision before those of another variant.

    Raises WeightsError where there are none: files of other kinds can run code when they are read.
    """
    for pattern in ("*.safetensors.index.json", "*.safetensors.index.*.json"):
        for index in sorted(folder.glob(pattern)):
            names = set(json.loads(index.read_text())["weight_map"].values())
            return [folder / name for name in sorted(names)]
    files = sorted(folder.glob("*.safetensors"), key=lambda path: (path.name.count("."), path.name))
    if not files:
        raise WeightsError(f"{folder} has no .safetensors file; pickled weights (.bin, .ckpt) are not read.")
    return files[:1]


def load_exactly(module: nn.Module, folder: Path) -> None:
    """Copy the weights of a part's files into the module.

    Raises WeightsError where a key is missing, is not expected or has another shape.
    """
    files = weight_files(folder)
    places = places_of(module, [key for file in files for key in _keys(file)], folder)
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for key in set(opened.keys()) & places.keys():
                copy_exactly(opened.get_tensor(key), places[key], folder, key)


def places_of(module: nn.Module, keys: Iterable[str], source: Path) -> dict[str, torch.Tensor]:
    """Return the module's tensor for each key that its source holds, without the counters that the module makes itself.

    Raises WeightsError where a key is missing or is not expected.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_MADE_BY_MODEL)}
    names = _names([key for key in keys if not key.endswith(_MADE_BY_MODEL)], wanted)
    tied = _tied(wanted, [*names.values()])
    missing = sorted(wanted.keys() - set(names.values()) - tied)
    surplus = sorted(key for key, name in names.items() if name not in wanted)
    if missing or surplus:
        parts = [_listed("missing", missing), _listed("not expected", surplus)]
        raise WeightsError(f"{source}: the weights do not fit the part: {'; '.join(filter(None, parts))}.")
    return {key: wanted[name] for key, name in names.items()}


def copy_exactly(tensor: torch.Tensor, place: torch.Tensor, source: Path, key: str) -> None:
    """Copy a weight to its place, in the place's type. Raises WeightsError where it has another shape."""
    if tensor.shape != place.shape:
        raise WeightsError(
            f"{source}: {key} has the shape {list(tensor.shape)}, and the part needs {list(place.shape)}."
        )
    with torch.no_grad():
        place.copy_(tensor.to(place.dtype))


def _keys(file: Path) -> Iterator[str]:
    with safe_open(file, framework="pt") as opened:
        yield from opened.keys()


def _names(found: Iterable[str], wanted: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return the module's name of each key: the key itself, or with another prefix where that fits."""
    # Some keys, such as a projection, have no prefix in either form, so each key is looked up by itself.
    return {key: next((name for name in _candidates(key) if name in wanted), key) for key in found}


def _candidates(key: str) -> list[str]:
    return [key, *(named + key.removeprefix(saved) for saved, named in _PREFIXES if key.startswith(saved))]


def _tied(wanted: dict[str, torch.Tensor], loaded: Sequence[str]) -> set[str]:
    """Return the names that share their memory with one that is loaded."""
    addresses = {wanted[name].data_ptr() for name in loaded if name in wanted}
    return {name for name, tensor in wanted.items() if tensor.data_ptr() in addresses}


def _listed(what: str, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return f"{what}: {', '.join(keys[:_MOST_NAMED])}{more}"
