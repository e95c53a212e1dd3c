"""A copy of a models directory, changed so that adapters can be applied which the runtime alone cannot apply.

GenAI 2026.4.1 merges low-rank updates of linear layers and 1x1 convolutions only. What an adapter of mode FUSE changes
beyond that (convolutions with a kernel, LoKr of full rank, differences) is added to the weights here. And it adds no
branch to a layer whose input is one of several outputs of an operation (split_inputs.py). Changed files are written
anew before the model is loaded; everything else is a symbolic link to the original.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13

from graphs.adapters.layers import layer_path
from graphs.adapters.updates import AdapterFit
from graphs.errors import EngineError
from workers.engine.adapters.split_inputs import split_inputs

_PREFIX = "adapted-model-"
_LONGEST_LOAD_S = 3600.0
_XML = "openvino_model.xml"
_Sums = dict[str, npt.NDArray[np.float32]]  # what is added to a layer's weight, by the layer's path


@dataclass(frozen=True)
class MergedAdapter:
    """An adapter that is merged into the weights, with the strength of the graph."""

    fit: AdapterFit
    alpha: float


@dataclass(frozen=True)
class ModelChanges:
    """What adapters need changed in a model before it is loaded.

    ``merged``: adapters to merge into the weights; ``split_inputs``: by the folder of the model's part, the paths of
    layers whose input gets an operation of its own.
    """

    merged: Sequence[MergedAdapter] = ()
    split_inputs: Mapping[str, frozenset[str]] = field(default_factory=dict)


@contextmanager
def adapted_model(models_path: Path, changes: ModelChanges, cache_dir: Path | None) -> Iterator[Path]:
    """Give the directory to load the model from; it is deleted once the model is compiled.

    Without changes it is ``models_path`` itself. ``cache_dir`` is where the copy is written, None: where temporary
    files are. Raises EngineError with a sentence when it cannot be written.
    """
    if not changes.merged and not changes.split_inputs:
        yield models_path
        return
    if cache_dir is not None:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(cache_dir)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=cache_dir) as folder:
        copy = Path(folder)
        try:
            _write(models_path, copy, changes)
        except (OSError, RuntimeError) as error:
            raise EngineError(f"The model cannot be prepared for its adapters in {copy}: {error}") from error
        yield copy


def _write(models_path: Path, copy: Path, changes: ModelChanges) -> None:
    _link_entries(models_path, copy)
    for part, sums in _sums(changes.merged).items():
        _unfold(copy / part)
        _write_merged(models_path / part / _XML, copy / part / _XML, sums)
    for part, paths in changes.split_inputs.items():
        if (copy / part).is_symlink():
            _unfold(copy / part)
        split_inputs(copy / part / _XML, paths)


def _sums(adapters: Sequence[MergedAdapter]) -> Mapping[str, _Sums]:
    """Return what is added to the weights, by the folder of the model's part."""
    found: dict[str, _Sums] = {}
    for adapter in adapters:
        with adapter.fit.path.open("rb") as file:
            for update in adapter.fit.updates:
                folder = adapter.fit.family.adapter_components[update.target.component].folder
                sums = found.setdefault(folder, {})
                change = np.float32(adapter.alpha) * update.whole(file)
                path = update.target.layer.path
                sums[path] = sums[path] + change if path in sums else change
    return found


def _link_entries(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry.resolve())


def _unfold(link: Path) -> None:
    """Put a folder of links in place of the link to a folder."""
    source = link.resolve()
    link.unlink()
    link.mkdir()
    _link_entries(source, link)


def _write_merged(source: Path, target: Path, sums: _Sums) -> None:
    """Write a part of the model in place of the links to it, with ``sums`` added to its weights."""
    model = openvino.Core().read_model(source)
    left = dict(sums)
    for node in model.get_ops():
        path = layer_path(node.get_friendly_name(), node.get_type_name())
        if path not in left:
            continue
        weight = node.input(1)
        change = left.pop(path)
        merged = _merged(_numbers(weight.get_source_output().get_node()), change, node)
        weight.replace_source_output(opset13.constant(merged).output(0))
    if left:
        raise RuntimeError(f"{source} has no weight for {next(iter(left))}")
    target.unlink()
    target.with_suffix(".bin").unlink()
    openvino.save_model(model, target, compress_to_fp16=False)


def _merged(weight: npt.NDArray[np.float32], change: npt.NDArray[np.float32], node: Any) -> npt.NDArray[np.float32]:
    """Return the sum in the shape of the weight; ``change`` is ``[outputs, columns]``."""
    is_linear = node.get_type_name() == "MatMul"
    if is_linear and not node.get_attributes()["transpose_b"]:
        change = change.T
    return weight + change.reshape(weight.shape)


def _numbers(node: Any) -> npt.NDArray[np.float32]:
    """Return the numbers of a weight, which the model may store in 16 bits and convert."""
    constant = node.input_value(0).get_node() if node.get_type_name() == "Convert" else node
    numbers: npt.NDArray[np.float32] = constant.get_data(dtype=np.float32)
    return numbers


def _remove_leftovers(folder: Path) -> None:
    """Delete the copies of processes that were ended while they loaded a model."""
    for copy in folder.glob(f"{_PREFIX}*"):
        if time.time() - copy.stat().st_mtime > _LONGEST_LOAD_S:
            shutil.rmtree(copy, ignore_errors=True)
