"""Adapter files of every kind that people train, with random numbers, and the changes of weights that they mean.

The changes are computed here in the plainest way, not by the code of the product.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from graphs.adapters.layers import Layer, read_layers
from tests.workers.engine.engine_support import MODELS

Numbers = npt.NDArray[Any]
Tensors = dict[str, Any]
RANK = 2
ALPHA = 1.0

UNET = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
UNET_CONVOLUTION = "mid_block.resnets.0.conv1"
TRANSFORMER = "transformer_blocks.0.attn.to_q"


@dataclass(frozen=True)
class Kind:
    """One kind of adapter: ``make`` takes random numbers and a layer, and returns the tensors and the change.

    ``fused``: only mode FUSE takes it; ``convolution``: it is for a convolution with a kernel.
    """

    make: Callable[[np.random.Generator, Layer], tuple[Tensors, Numbers]]
    fused: bool = False
    convolution: bool = False


def layer_path(family: str, kind: Kind) -> str:
    """Return the path of the layer that the kind is tried on, as adapters name it."""
    if family in ("sd3", "flux"):
        return TRANSFORMER
    return UNET_CONVOLUTION if kind.convolution else UNET


def write_kind(path: Path, family: str, kind: Kind, *, strength: float = 1.0) -> tuple[str, Numbers]:
    """Write an adapter for one layer; return the layer's path and the change of its weight, ``[outputs, ...]``."""
    name = layer_path(family, kind)
    part = "transformer" if family in ("sd3", "flux") else "unet"
    layers = read_layers(MODELS / family / part / "openvino_model.xml")
    layer = layers.get(name) or layers[f"model.{name}"]
    tensors, change = kind.make(np.random.default_rng(7), layer)
    start = f"lora_unet_{name.replace('.', '_')}"
    save_file({f"{start}.{key}": np.asarray(value) for key, value in tensors.items()}, path)
    return name, strength * change


def _normal(generator: np.random.Generator, *shape: int) -> Numbers:
    return generator.normal(size=shape).astype(np.float32)


def _lora(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    down, up = _normal(generator, RANK, layer.inputs), _normal(generator, layer.outputs, RANK)
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": np.float32(ALPHA)}, ALPHA / RANK * up @ down


def _mixed(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    down, up = _normal(generator, RANK, layer.inputs).astype(np.float16), _normal(generator, layer.outputs, RANK)
    tensors = {"lora_down.weight": down, "lora_up.weight": up.astype(np.float64), "alpha": np.array([[3]], np.int64)}
    return tensors, 3 / RANK * up @ down.astype(np.float32)


def _locon(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    down = _normal(generator, RANK, layer.inputs, 3, 3)
    up = _normal(generator, layer.outputs, RANK, 1, 1)
    change = np.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": np.float32(ALPHA)}, ALPHA / RANK * change


def _locon_mid(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    down, up = _normal(generator, RANK, layer.inputs, 1, 1), _normal(generator, layer.outputs, RANK, 1, 1)
    mid = _normal(generator, RANK, RANK, 3, 3)
    change = np.einsum("op,pqkl,qi->oikl", up[:, :, 0, 0], mid, down[:, :, 0, 0])
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}, change


def _loha(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    a1, a2 = (_normal(generator, layer.outputs, RANK) for _ in range(2))
    b1, b2 = (_normal(generator, RANK, layer.inputs) for _ in range(2))
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": np.float16(ALPHA)}
    return tensors, ALPHA / RANK * (a1 @ b1) * (a2 @ b2)


def _loha_convolution(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    a1, a2 = (_normal(generator, RANK, layer.outputs) for _ in range(2))
    b1, b2 = (_normal(generator, RANK, layer.inputs) for _ in range(2))
    t1, t2 = (_normal(generator, RANK, RANK, 3, 3) for _ in range(2))
    one, two = (np.einsum("ijkl,jr,ip->prkl", t, b, a) for t, b, a in ((t1, b1, a1), (t2, b2, a2)))
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "hada_t1": t1, "hada_t2": t2}
    return tensors, one * two


def _lokr(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    w1 = _normal(generator, 4, 4)
    a, b = _normal(generator, layer.outputs // 4, RANK), _normal(generator, RANK, layer.inputs // 4)
    return {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.float32(3)}, 3 / RANK * np.kron(w1, a @ b)


def _lokr_full(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    w1, w2 = _normal(generator, 4, 4), _normal(generator, layer.outputs // 4, layer.inputs // 4)
    return {"lokr_w1": w1, "lokr_w2": w2, "alpha": np.float32(1e6)}, np.kron(w1, w2)


def _lokr_convolution(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    w1 = _normal(generator, 4, 4)
    a, b = _normal(generator, RANK, layer.outputs // 4), _normal(generator, RANK, layer.inputs // 4)
    t = _normal(generator, RANK, RANK, 3, 3)
    w2 = np.einsum("ijkl,jr,ip->prkl", t, b, a)
    tensors = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "lokr_t2": t}
    return tensors, np.einsum("ac,bdkl->abcdkl", w1, w2).reshape(layer.outputs, layer.inputs, 3, 3)


def _difference(generator: np.random.Generator, layer: Layer) -> tuple[Tensors, Numbers]:
    change = _normal(generator, layer.outputs, layer.inputs)
    return {"diff": change}, change


KINDS: Mapping[str, Kind] = {
    "LoRA": Kind(_lora),
    "LoRA, mixed types": Kind(_mixed),
    "LoCon, 3x3": Kind(_locon, fused=True, convolution=True),
    "LoCon, three parts": Kind(_locon_mid, fused=True, convolution=True),
    "LoHa": Kind(_loha),
    "LoHa, 3x3": Kind(_loha_convolution, fused=True, convolution=True),
    "LoKr": Kind(_lokr),
    "LoKr, full rank": Kind(_lokr_full, fused=True),
    "LoKr, 3x3": Kind(_lokr_convolution, fused=True, convolution=True),
    "difference": Kind(_difference, fused=True),
}
