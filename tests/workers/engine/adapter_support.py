"""LoRA files with random numbers, and the images that OpenVINO GenAI draws with them."""

import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import openvino_genai
from safetensors.numpy import load_file, save_file

from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.requests.request import AdapterSelection
from tests.workers.engine.engine_support import CLASSES, F32, MODELS, copy_model, draw, draw_raw, make_request
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Pixels

Layers = Mapping[str, tuple[int, int]]
RANK = 4
_BLOCK = "mid_block.attentions.0.transformer_blocks.0"
UNET: Layers = {
    f"{_BLOCK}.attn1.to_q": (32, 32),
    f"{_BLOCK}.attn1.to_out.0": (32, 32),
    f"{_BLOCK}.attn1.to_v": (32, 32),
}
TRANSFORMER: Layers = {f"transformer_blocks.0.attn.{leaf}": (32, 32) for leaf in ("to_q", "to_k", "add_v_proj")}
LAYERS: dict[str, Layers] = {"sd": UNET, "lcm": UNET, "sdxl": UNET, "sd3": TRANSFORMER, "flux": TRANSFORMER}
MODES = openvino_genai.AdapterConfig.Mode
Blend = Sequence[tuple[Path, float]]


def numbers(layers: Layers, seed: int, strength: float = 1.0) -> dict[str, npt.NDArray[np.float32]]:
    """Return the matrices of an adapter as ``<module>.down`` and ``<module>.up``."""
    generator = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[np.float32]] = {}
    for module, (outputs, inputs) in layers.items():
        found[f"{module}.down"] = (strength * generator.normal(size=(RANK, inputs))).astype(np.float32)
        found[f"{module}.up"] = (strength * generator.normal(size=(outputs, RANK))).astype(np.float32)
    return found


def write_kohya(path: Path, layers: Layers, seed: int, *, alpha: float = RANK, start: str = "lora_unet_") -> Path:
    save_file(kohya_tensors(layers, seed, start, alpha=alpha), path)
    return path


def kohya_tensors(layers: Layers, seed: int, start: str, *, alpha: float = RANK) -> dict[str, Any]:
    """Return the tensors of an adapter under kohya's names, which begin with ``start``."""
    tensors: dict[str, Any] = {}
    for name, values in numbers(layers, seed).items():
        module, _, part = name.rpartition(".")
        tensors[f"{start}{module.replace('.', '_')}.lora_{part}.weight"] = values
        tensors[f"{start}{module.replace('.', '_')}.alpha"] = np.array(alpha, dtype=np.float32)
    return tensors


def write_diffusers(path: Path, layers: Layers, seed: int, *, start: str = "transformer.") -> Path:
    tensors: dict[str, Any] = {}
    for name, values in numbers(layers, seed).items():
        module, _, part = name.rpartition(".")
        tensors[f"{start}{module}.lora_{'A' if part == 'down' else 'B'}.weight"] = values
    save_file(tensors, path)
    return path


def write_native(path: Path, family: str, seed: int) -> Path:
    """Write an adapter with the tensor names that GenAI itself accepts for the family."""
    write = write_diffusers if family in ("sd3", "flux") else write_kohya
    return write(path, LAYERS[family], seed)


def rename(source: Path, target: Path, old: str, new: str) -> Path:
    save_file({key.replace(old, new): value for key, value in load_file(source).items()}, target)
    return target


def raw_image(
    family: str | Path,
    blend: Blend = (),
    *,
    mode: Any = MODES.MODE_DYNAMIC,
    operation: Operation = Operation.GENERATION,
) -> Pixels:
    """Return the image of a GenAI pipeline that was compiled with these adapters only."""
    return _raw_image(MODELS / family, tuple(blend), mode, operation)


@lru_cache(maxsize=64)
def _raw_image(model: Path, blend: tuple[tuple[Path, float], ...], mode: Any, operation: Operation) -> Pixels:
    """Cached by path: each test has a folder of its own, so the content of a path never changes."""
    properties: dict[str, Any] = dict(F32)
    chosen: dict[str, Any] = {}
    if blend:
        config = openvino_genai.AdapterConfig(mode)
        for path, alpha in blend:
            config.add(openvino_genai.Adapter(str(path)), alpha)
        properties["adapters"] = config
        if mode == MODES.MODE_DYNAMIC:  # without it, SDXL's text encoders apply no adapter
            chosen["adapters"] = config
    pipeline = CLASSES[operation](str(model), "CPU", **properties)
    return draw_raw(pipeline, make_request(read_model_facts(model), operation), **chosen)[0]


def draw_image(
    engine: OpenVinoEngine, family: str | Path, operation: Operation = Operation.GENERATION, **alphas: float
) -> Pixels:
    """Return the image that our engine draws with the adapters of these aliases."""
    selections = tuple(AdapterSelection(alias=alias, alpha=alpha) for alias, alpha in alphas.items())
    return draw(engine, make_request(read_model_facts(MODELS / family), operation, adapters=selections)).images[0]


def merge_by_hand(
    family: str | Path, folder: Path, added: Mapping[str, npt.NDArray[np.float32]], *, encoder: str | None = None
) -> Path:
    """Return a copy of a model whose denoiser, or text encoder, has the weights ``W + added``, without any adapter."""
    model = copy_model(family, folder)
    part = model / (encoder or ("unet" if (model / "unet").is_dir() else "transformer"))
    core = openvino.Core()
    network = core.read_model(part / "openvino_model.xml")
    left = dict(added)
    for node in network.get_ordered_ops():
        name = node.get_friendly_name().removeprefix("__module.").removeprefix("model.").partition("/")[0]
        if node.get_type_name() in ("MatMul", "Convolution") and name in left:
            weight = node.input(1).get_source_output().get_node()
            constant = weight.input(0).get_source_output().get_node()
            merged = constant.data.astype(np.float32) + left.pop(name).reshape(constant.data.shape)
            node.input(1).replace_source_output(openvino.opset13.constant(merged).output(0))
    assert not left, left
    openvino.save_model(network, folder / "openvino_model.xml", compress_to_fp16=False)
    del network
    for suffix in ("xml", "bin"):
        shutil.move(folder / f"openvino_model.{suffix}", part / f"openvino_model.{suffix}")
    return model


def products(layers: Layers, seed: int, scale: float) -> dict[str, npt.NDArray[np.float32]]:
    """Return ``scale * up @ down`` for each layer of an adapter."""
    values = numbers(layers, seed)
    return {module: scale * (values[f"{module}.up"] @ values[f"{module}.down"]) for module in layers}


def distance(one: Pixels, other: Pixels) -> float:
    """Return the mean difference of two images in steps of 1/255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())
