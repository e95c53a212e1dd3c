"""Matches a LoRA file with a model: which tensor belongs to which layer, under names that OpenVINO GenAI finds.

GenAI 2026.4.1 searches for a tensor's name anywhere inside the layers' names and takes the first match. A tensor
without a match is left out with a line on stderr; a tensor of the wrong shape makes a generation fail or spoils every
later one. So each tensor is matched with one layer here and gets a name that only this layer has: its module path and
the slash after it. With these names, files of all naming forms have the same effect.

This module does not need OpenVINO: the API checks a file here before the workers load it.
"""

import json
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from graphs.adapters.keys import Part, read_key
from graphs.adapters.safetensors_file import StoredTensor, read_header
from graphs.adapters.targets import AdapterTargets, Target
from graphs.errors import AdapterMisfit
from graphs.families.family import Family

_DTYPES = ("F32", "F16", "BF16")
_METADATA = "lora_adapter_metadata"  # diffusers stores PEFT's configuration under this key, as JSON


@dataclass
class _Module:
    """The tensors of one module, and their names in the file."""

    component: str
    targets: tuple[Target, ...]
    parts: dict[Part, StoredTensor] = field(default_factory=dict)
    keys: dict[Part, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerUpdate:
    """What an adapter adds to one layer: ``alpha / rank * up @ down``, where a missing alpha counts as the rank.

    ``down`` is ``[rank, inputs]``, ``up`` is ``[outputs, rank]``, ``key`` is the name of ``down`` in the file.
    """

    key: str
    target: Target
    down: StoredTensor
    up: StoredTensor
    alpha: StoredTensor | float | None


@dataclass(frozen=True)
class AdapterFit:
    """A file that fits a model of the family: what it adds to which layer, and how GenAI can apply it."""

    path: Path
    family: Family
    updates: tuple[LayerUpdate, ...]

    @property
    def layers(self) -> frozenset[str]:
        """The names of the layers that it changes, as GenAI takes them."""
        return frozenset(update.target.name for update in self.updates)

    @property
    def takes_merge(self) -> bool:
        """Whether it can be merged into the weights (FUSE), which weights packed into 8 or 4 bits do not allow."""
        return all(update.target.layer.takes_merge for update in self.updates)

    def check_loadable(self, *, merged: bool, at_construction: bool) -> None:
        """Check that the pipelines can apply the adapter in the way that they are compiled.

        ``merged``: all adapters are merged into the weights (FUSE); ``at_construction``: the pipelines are compiled
        while they are constructed (``Graph.is_compiled_at_construction``).
        Raises AdapterMisfit, whose message is a clause without the adapter's alias.
        """
        changes_encoder = any(update.target.component != "denoiser" for update in self.updates)
        if changes_encoder and self.family.encoder_adapters_need_construction and not at_construction:
            raise AdapterMisfit(
                "its part for the text encoders needs one device for the whole model and no static resolution"
            )
        key = next((update.key for update in self.updates if not update.target.layer.takes_branch), None)
        if key is not None and not merged:
            raise AdapterMisfit(
                f"the runtime can only merge the tensor {key!r} of {self.path}, as mode: FUSE without other modes does"
            )


def fit_adapter(path: Path, models_path: Path, family: Family) -> AdapterFit:
    """Match every tensor of an adapter's file with the layers of the model in ``models_path``.

    Raises AdapterMisfit, whose message is a clause about the first tensor that does not fit, without the alias and
    the path: the caller adds these. A file of another kind raises its subclass NotSafetensors.
    """
    try:
        header = read_header(path)
    except OSError as error:
        raise AdapterMisfit(f"it cannot be read ({error.strerror})") from error
    targets = AdapterTargets(models_path, family)
    modules: dict[str, _Module] = {}
    for key, tensor in header.tensors.items():
        _add(modules, key, tensor, targets)
    alphas = _alphas(header.metadata)
    updates = [update for module in modules.values() for update in _updates(module, alphas.get(module.component))]
    return AdapterFit(path, family, tuple(updates))


def _add(modules: dict[str, _Module], key: str, tensor: StoredTensor, targets: AdapterTargets) -> None:
    read = read_key(key)
    if read is None:
        raise AdapterMisfit(
            f"the tensor {key!r} is of no kind that can be applied; a LoRA has pairs of lora_down.weight and "
            "lora_up.weight (or lora_A and lora_B), and alpha"
        )
    if tensor.dtype not in _DTYPES:
        raise _misfit(key, f"its type is {tensor.dtype}, not one of {', '.join(_DTYPES)}")
    try:
        found = targets.find(read)
    except AdapterMisfit as error:
        raise _misfit(key, error.message) from error
    module = modules.setdefault(found[0].name, _Module(read.component, found))
    if read.part in module.parts or module.targets != found:
        raise _misfit(key, f"another tensor of the file is for the layer {found[0].layer.path!r} as well")
    module.parts[read.part] = tensor
    module.keys[read.part] = key


def _updates(module: _Module, alpha: float | None) -> list[LayerUpdate]:
    """Return one update for each layer, with its own rows of ``up``. ``alpha`` is used where no tensor gives one."""
    down = module.parts.get("down")
    up = module.parts.get("up")
    if down is None or up is None:
        missing = "lora_down (lora_A)" if down is None else "lora_up (lora_B)"
        raise _misfit(next(iter(module.keys.values())), f"its layer has no {missing} in the file")
    _check_shapes(module, down, up)
    scale = module.parts.get("alpha", alpha)
    starts = [0]
    for target in module.targets:
        starts.append(starts[-1] + target.layer.outputs)
    return [
        LayerUpdate(module.keys["down"], target, down, _rows(up, first, last), scale)
        for target, (first, last) in zip(module.targets, pairwise(starts), strict=True)
    ]


def _check_shapes(module: _Module, down: StoredTensor, up: StoredTensor) -> None:
    layers = [target.layer for target in module.targets]
    rank = down.shape[0] if down.shape else 0
    kernel = max((layers[0].kernel, *down.shape[2:], *up.shape[2:]))
    if kernel > 1:
        raise _misfit(module.keys["down"], "the runtime applies adapters to convolutions of 1x1 pixels only")
    if rank < 1 or down.shape[:2] != (rank, layers[0].inputs) or len(down.shape) not in (2, 4):
        raise _misfit(
            module.keys["down"], f"lora_down is {list(down.shape)}, its layer takes [rank, {layers[0].inputs}]"
        )
    outputs = sum(layer.outputs for layer in layers)
    if up.shape[:2] != (outputs, rank) or len(up.shape) not in (2, 4):
        raise _misfit(module.keys["up"], f"lora_up is {list(up.shape)}, its layer takes [{outputs}, {rank}]")
    if down.dtype != up.dtype:
        raise _misfit(
            module.keys["down"], f"lora_down is {down.dtype} and lora_up {up.dtype}; both must be of one type"
        )
    alpha = module.parts.get("alpha")
    if alpha is not None and math.prod(alpha.shape) != 1:
        raise _misfit(module.keys["alpha"], f"alpha is {list(alpha.shape)}, and must be one number")


def _rows(tensor: StoredTensor, first: int, last: int) -> StoredTensor:
    row = (tensor.end - tensor.start) // tensor.shape[0]
    shape = (last - first, *tensor.shape[1:])
    return StoredTensor(tensor.dtype, shape, tensor.start + first * row, tensor.start + last * row)


def _alphas(metadata: dict[str, str]) -> dict[str, float]:
    """Return the alpha of each component where diffusers wrote it into the file's metadata."""
    try:
        entries = json.loads(metadata.get(_METADATA, "{}")).items()
    except (ValueError, AttributeError, RecursionError):
        return {}
    found: dict[str, float] = {}
    for name, value in entries:
        component, _, option = name.rpartition(".")
        if option == "lora_alpha" and isinstance(value, int | float) and math.isfinite(value):
            found["denoiser" if component in ("unet", "transformer", "") else component] = float(value)
    return found


def _misfit(key: str, why: str) -> AdapterMisfit:
    return AdapterMisfit(f"the tensor {key!r} does not fit: {why}")
