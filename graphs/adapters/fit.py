"""Matches an adapter file with a model: which tensor belongs to which layer, under names that OpenVINO GenAI finds.

GenAI 2026.4.1 searches for a tensor's name anywhere inside the layers' names and takes the first match. A tensor
without a match is left out with a line on stderr; a tensor of the wrong shape makes a generation fail or spoils every
later one. So each tensor is matched with one layer here and gets a name that only this layer has: its module path and
the slash after it. With these names, files of all naming forms have the same effect.

This module does not need OpenVINO: the API checks a file here before the workers load it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from graphs.adapters.keys import AdapterKey, read_key
from graphs.adapters.kinds import refused_kind
from graphs.adapters.safetensors_file import ITEM_BYTES, StoredTensor, read_header
from graphs.adapters.scales import Scales
from graphs.adapters.targets import AdapterTargets, Target
from graphs.adapters.tensors import FLOATS, read_numbers
from graphs.adapters.updates import AdapterCoverage, AdapterFit, Coverage, LayerUpdate
from graphs.adapters.weights import UnusableWeights, Weights, weights_of
from graphs.definition.graph import MAX_STRENGTH
from graphs.errors import AdapterMisfit
from graphs.families.family import Family

_LEAST_SHARE = 0.9
# The inputs of attn2.to_k tell the text encoder that a UNet's adapter was trained with.
_CROSS_ATTENTION = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}


@dataclass(eq=False)
class _Module:
    """The tensors of one module, and their names in the file."""

    key: AdapterKey
    targets: tuple[Target, ...]
    parts: dict[str, StoredTensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def weights(self) -> Weights:
        """Return the change that the tensors make. Raises AdapterMisfit where they make none."""
        for part, tensor in self.parts.items():
            types = ITEM_BYTES if part == "alpha" else FLOATS
            if tensor.dtype not in types:
                raise self.misfit(part, f"its type is {tensor.dtype}, not one of {', '.join(types)}")
        try:
            return weights_of(self.parts)
        except UnusableWeights as error:
            raise self.misfit(error.part, error.reason) from error

    def misfit(self, part: str, why: str) -> AdapterMisfit:
        return _misfit(self.names.get(part) or next(iter(self.names.values())), why)


def fit_adapter(path: Path, models_path: Path, family: Family) -> AdapterFit:
    """Match the tensors of an adapter's file with the layers of the model in ``models_path``, and check their numbers.

    Layers that the model does not have are left out and counted, as are text encoders that the runtime cannot change;
    at least 90 % of the denoiser's layers must fit. Raises AdapterMisfit, whose message is a clause about the first
    tensor that does not fit, without the alias and the path: the caller adds these. A file of another kind raises its
    subclass NotSafetensors.
    """
    try:
        header = read_header(path)
        modules, missing = _modules(header.tensors, AdapterTargets(models_path, family))
        coverage = _coverage(modules, missing, family)
        scales = Scales(path, header.metadata)
        with path.open("rb") as file:
            updates = tuple(update for module in modules for update in _updates(module, scales, file))
    except OSError as error:
        raise AdapterMisfit(f"it cannot be read ({error.strerror})") from error
    return AdapterFit(path, family, updates, coverage)


def read_coverage(path: Path, models_path: Path, family: Family) -> AdapterCoverage:
    """Return how much of an adapter's file fits a model, from the file's header alone.

    Raises AdapterMisfit as ``fit_adapter`` does, but for numbers.
    """
    try:
        modules, missing = _modules(read_header(path).tensors, AdapterTargets(models_path, family))
    except OSError as error:
        raise AdapterMisfit(f"it cannot be read ({error.strerror})") from error
    return _coverage(modules, missing, family)


_Missing = dict[tuple[str, str], str]  # component and module, and a clause for the first of each component


def _modules(tensors: Mapping[str, StoredTensor], targets: AdapterTargets) -> tuple[list[_Module], _Missing]:
    modules: dict[str, _Module] = {}
    missing: _Missing = {}
    described: set[str] = set()
    for name, tensor in tensors.items():
        key = read_key(name)
        if key is None:
            raise AdapterMisfit(
                refused_kind(name)
                or f"the tensor {name!r} is of no kind that can be applied; a LoRA has pairs of lora_down.weight and "
                "lora_up.weight (or lora_A and lora_B), and alpha"
            )
        found = targets.find(key)
        if not found:
            # The search for the nearest layer takes milliseconds, and a file may have thousands of tensors.
            is_first = key.component not in described
            described.add(key.component)
            clause = f"the tensor {name!r} does not fit: {targets.missing(key)}" if is_first else ""
            missing.setdefault((key.component, key.module), clause)
            continue
        module = modules.setdefault(found[0].name, _Module(key, found))
        is_taken = any(modules.setdefault(target.name, module) is not module for target in found)
        if is_taken or key.part in module.parts or module.targets != found:
            raise _misfit(name, f"another tensor of the file is for the layer {found[0].layer.path!r} as well")
        module.parts[key.part] = tensor
        module.names[key.part] = name
    # A module of several layers stands under the name of each.
    return list(dict.fromkeys(modules.values())), missing


def _coverage(modules: list[_Module], missing: _Missing, family: Family) -> AdapterCoverage:
    """Return how much of the file fits, by component. Raises AdapterMisfit where that is too little."""
    matched = Counter(module.key.component for module in modules)
    total = matched + Counter(component for component, _ in missing)
    if matched["denoiser"] < _LEAST_SHARE * total["denoiser"]:
        first = next(clause for (component, _), clause in missing.items() if component == "denoiser")
        raise AdapterMisfit(
            f"only {matched['denoiser']} of its {total['denoiser']} layers are in this {family} model; {first}"
        )
    if not modules:
        raise AdapterMisfit(next(iter(missing.values()), "it holds no layer"))
    components = {component: Coverage(matched[component], count) for component, count in sorted(total.items())}
    ranks = {rank for module in modules if (rank := module.weights().trained_rank) is not None}
    left_out = next(iter(missing.values()), None)
    return AdapterCoverage(components, (min(ranks), max(ranks)) if ranks else None, left_out)


def _updates(module: _Module, scales: Scales, file: BinaryIO) -> Iterator[LayerUpdate]:
    """Yield one update for each layer of a module, with its own rows."""
    weights = module.weights()
    _check_shape(module, weights)
    _check_numbers(module, file)
    scale = _scale(module, weights, scales, file)
    starts = [0]
    for target in module.targets:
        starts.append(starts[-1] + target.layer.outputs)
    name = module.names.get("down") or next(iter(module.names.values()))
    for target, first in zip(module.targets, starts, strict=False):
        yield LayerUpdate(name, target, weights, first, scale)


def _check_shape(module: _Module, weights: Weights) -> None:
    layers = [target.layer for target in module.targets]
    outputs = sum(layer.outputs for layer in layers)
    if weights.columns != layers[0].columns:
        part, text = _described(module, "down", weights.columns)
        kernel = "" if layers[0].kernel == 1 else f" with a kernel of {layers[0].kernel} weights"
        raise module.misfit(part, f"{text}, its layer takes [rank, {layers[0].inputs}]{kernel}{_trained_for(module)}")
    if weights.outputs != outputs:
        part, text = _described(module, "up", weights.outputs)
        raise module.misfit(part, f"{text}, its layer takes [{outputs}, {weights.trained_rank or 'inputs'}]")


def _described(module: _Module, part: str, count: int) -> tuple[str, str]:
    if part in module.parts:
        return part, f"lora_{part} is {list(module.parts[part].shape)}"
    return next(iter(module.parts)), f"its update has {count} {'columns' if part == 'down' else 'rows'}"


def _trained_for(module: _Module) -> str:
    down = module.parts.get("down")
    model = _CROSS_ATTENTION.get(down.shape[1]) if down else None
    is_cross_attention = module.key.module.endswith(("attn2_to_k", "attn2_to_v"))
    return f"; the adapter was trained for {model}" if model and is_cross_attention else ""


def _check_numbers(module: _Module, file: BinaryIO) -> None:
    for part, tensor in module.parts.items():
        if part != "alpha" and not np.isfinite(read_numbers(file, tensor)).all():
            raise module.misfit(
                part, "it contains numbers that are infinite or not a number (NaN); the file is damaged"
            )


def _scale(module: _Module, weights: Weights, scales: Scales, file: BinaryIO) -> float:
    rank = weights.trained_rank
    alpha = module.parts.get("alpha")
    if rank is None:
        return 1.0
    if alpha is None:
        scale = scales.scale(module.key, rank)
    elif math.prod(alpha.shape) != 1:
        raise module.misfit("alpha", f"alpha is {list(alpha.shape)}, and must be one number")
    else:
        scale = float(read_numbers(file, alpha).reshape(())) / rank
    if not abs(scale) <= MAX_STRENGTH:
        raise module.misfit("alpha", f"its scale, alpha by rank, is {scale:g}, and may be {MAX_STRENGTH:g} at most")
    return scale


def _misfit(key: str, why: str) -> AdapterMisfit:
    return AdapterMisfit(f"the tensor {key!r} does not fit: {why}")
