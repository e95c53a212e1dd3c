"""Engines that draw request after request, compared with new engines that draw one request each.

A cell of the table is a family, the modes of its adapters, the images of a request and a precision.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13
from safetensors.numpy import save_file

from graphs.definition.graph import LoraAdapter, LoraMode
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.requests.request import AdapterSelection, ResolvedRequest
from tests.workers.engine.adapter_support import Layers, kohya_tensors
from tests.workers.engine.engine_support import MODELS, copy_model, draw, make_graph, make_request
from tests.workers.engine.flux_fill import make_flux_fill
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Pixels

FAMILIES = ("sd", "lcm", "sdxl", "sd3", "flux", "flux fill")
# The modes of the adapters a and b.
MODES: dict[str, tuple[LoraMode, LoraMode]] = {
    "DYNAMIC": (LoraMode.DYNAMIC, LoraMode.DYNAMIC),
    "STATIC": (LoraMode.STATIC, LoraMode.STATIC),
    "FUSE": (LoraMode.FUSE, LoraMode.FUSE),
    "FUSE + DYNAMIC": (LoraMode.FUSE, LoraMode.DYNAMIC),
}
COUNTS = (1, 2, 4)
PRECISIONS = ("f32", "bf16")
CALLS = 12
# Layers of the denoiser that read the model's inputs directly, and others.
LEAVES = (
    *("attn2.to_k", "attn2.to_v", "attn1.to_q", "attn.to_q", "attn.add_k_proj"),
    *("embedding.linear_1", "timestep_embedder.linear_1", "x_embedder", "context_embedder"),
)
_ENCODERS = {"sd": ("te",), "lcm": ("te",), "sdxl": ("te1", "te2"), "sd3": (), "flux": ("te1",), "flux fill": ("te1",)}
# Numbers in tensors of the tiny models: prompts, pooled prompts, latents, and what lies between.
_BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 2464, 4928, 8192, 9856, 16384, 19712, 32768)
_BLOCKS = 40
_ENCODER_LAYERS: Layers = {"text_model.encoder.layers.0.self_attn.q_proj": (32, 32)}


@dataclass(frozen=True)
class Asked:
    """What a request of these comparisons chooses; ``blend`` has the strength of each chosen adapter."""

    prompt: str = "a red fox"
    blend: tuple[tuple[str, float], ...] = ()
    seed: int = 7
    count: int = 1
    operation: Operation = Operation.GENERATION
    size: tuple[int, int] = (64, 64)
    guidance_scale: float | None = None
    steps: int = 1


# On SD3, this layer reads the pooled prompts, which have a new address at each call.
POOLED = "time_text_embed.text_embedder.linear_1"


def hide_pooled_prompts(folder: Path) -> Path:
    """Return a copy of the tiny SD3 whose layer for pooled prompts reads them behind a conversion to their own type.

    The runtime removes it, so the layer reads the wrong memory as before; but the product does not see that, and so
    does not cure it (workers/engine/adapters/split_inputs.py).
    """
    model = copy_model("sd3", folder)
    xml_path = model / "transformer" / "openvino_model.xml"
    network = openvino.Core().read_model(xml_path)
    node = next(op for op in network.get_ops() if POOLED in op.get_friendly_name() and op.get_type_name() == "MatMul")
    node.input(0).replace_source_output(opset13.convert(node.input_value(0), "f32").output(0))
    openvino.save_model(network, folder / "hidden.xml", compress_to_fp16=False)
    del network
    for suffix in (".xml", ".bin"):
        shutil.move(folder / f"hidden{suffix}", xml_path.with_suffix(suffix))
    return model


class Bench:
    """One engine that draws everything in turn, and a new engine for each image that it is compared with."""

    def __init__(
        self, family: str, mode: str, precision: str, folder: Path, *, encoders: bool = True, **options: Any
    ) -> None:
        """``mode``: a key of MODES; ``encoders``: whether adapters change text encoders too; ``options``: of Graph."""
        self.family = family
        self.modes = MODES[mode]
        model = model_of(family, folder)
        self.paths = {
            alias: write_adapter(folder / f"{alias}.safetensors", model, family, seed, encoders=encoders)
            for seed, alias in enumerate("ab")
        }
        adapters = tuple(
            LoraAdapter(alias=alias, path=path, mode=one, alpha=0.5)
            for (alias, path), one in zip(self.paths.items(), self.modes, strict=True)
        )
        self.graph = make_graph(model, lora_adapters=adapters, **options).model_copy(
            update={"plugin_config": {"INFERENCE_PRECISION_HINT": precision}}
        )
        self.facts = read_model_facts(model)
        self._held: list[npt.NDArray[np.float32]] = []
        self.alone = cache(self._alone)
        self.restart(None)

    def restart(self, ranks_change: bool | None) -> None:
        """Replace the engine that is compared; the images that it is compared with are kept."""
        self.engine = self._new_engine(ranks_change)

    def blends(self) -> list[tuple[tuple[str, float], ...]]:
        """Return blends that clients may choose with these modes."""
        a, b = (one is LoraMode.DYNAMIC for one in self.modes)
        if a and b:
            return [(("a", 1.0),), (), (("b", 0.5),), (("a", 0.3), ("b", 0.7))]
        if b:
            return [(("b", 0.5),), (), (("b", 1.0),)]
        is_static = self.modes[0] is LoraMode.STATIC
        return [(("a", 0.5), ("b", 0.5))] if is_static else [()]

    def requests(self, count: int) -> list[Asked]:
        """Return four requests with prompts, seeds and blends of their own; the first has the first blend."""
        operation = Operation.INPAINTING if self.family == "flux fill" else Operation.GENERATION
        blends = self.blends() * 4
        return [
            Asked(f"a red fox in field {number}", blends[number], number, count, operation=operation)
            for number in range(4)
        ]

    def differing(self, asked: Iterable[Asked]) -> list[Asked]:
        """Draw these in turn and return those whose images are not the ones of a new engine."""
        return [one for one in asked if not np.array_equal(self.images(self.engine, one), self.expected(one))]

    def images(self, engine: OpenVinoEngine, asked: Asked) -> Pixels:
        """Return the images, ``uint8 [count, height, width, 3]``."""
        self._held = other_work()
        return np.stack(draw(engine, self.resolved(asked)).images)

    def resolved(self, asked: Asked) -> ResolvedRequest:
        """Return the request as the engine takes it."""
        changes: dict[str, Any] = {} if asked.guidance_scale is None else {"guidance_scale": asked.guidance_scale}
        return make_request(
            self.facts,
            asked.operation,
            prompt=asked.prompt,
            rng_seed=asked.seed,
            width=asked.size[0],
            height=asked.size[1],
            num_inference_steps=asked.steps,
            num_images_per_prompt=asked.count,
            adapters=tuple(AdapterSelection(alias=alias, alpha=alpha) for alias, alpha in asked.blend),
            **changes,
        )

    def expected(self, asked: Asked) -> Pixels:
        """Return the images that a new engine draws."""
        # The first images of a request are those of a request for fewer: each is drawn by a call of its own.
        if self.graph.is_static:
            return self.alone(asked)
        return self.alone(replace(asked, count=max(COUNTS)))[: asked.count]

    def _alone(self, asked: Asked) -> Pixels:
        return self.images(self._new_engine(None), asked)

    def _new_engine(self, ranks_change: bool | None) -> OpenVinoEngine:
        engine = OpenVinoEngine(
            self.graph,
            self.facts,
            device=self.graph.device,
            cache_dir=None,
            ranks_change=ranks_change,
            checks_images=False,  # so that the first call of a new engine is the one that is compared
        )
        engine.load()
        return engine


def count_differing(bench: Bench, count: int) -> tuple[int, int]:
    """Return how many of twelve equal and of twelve mixed requests draw images that differ."""
    requests = bench.requests(count)
    order = np.random.default_rng(5).integers(len(requests), size=CALLS)
    equal = bench.differing([requests[0]] * CALLS)
    mixed = bench.differing([requests[number] for number in order])
    return len(equal), len(mixed)


def model_of(family: str, folder: Path) -> Path:
    """Return the folder of the tiny model of a family."""
    return make_flux_fill(folder) if family == "flux fill" else MODELS / family


def write_adapter(path: Path, model: Path, family: str, seed: int, *, encoders: bool = True) -> Path:
    """Write an adapter of random numbers for layers of the denoiser and of each text encoder that takes adapters."""
    folder = "transformer" if (model / "transformer").is_dir() else "unet"
    parts = {
        folder: layers_of(model / folder, (*LEAVES, POOLED)),
        **dict.fromkeys(_ENCODERS[family] if encoders else (), _ENCODER_LAYERS),
    }
    tensors: dict[str, Any] = {}
    for part, layers in parts.items():
        tensors |= kohya_tensors(layers, seed, f"lora_{part}_")
    save_file(tensors, path)
    return path


@cache
def layers_of(part: Path, leaves: tuple[str, ...]) -> Layers:
    """Return the layers of the denoiser whose names end with one of ``leaves``, with their outputs and inputs."""
    network = openvino.Core().read_model(part / "openvino_model.xml")
    found = {}
    for node in network.get_ordered_ops():
        name = node.get_friendly_name().removeprefix("__module.").removeprefix("model.").partition("/")[0]
        if node.get_type_name() == "MatMul" and name.endswith(leaves):
            outputs, inputs = node.input(1).get_partial_shape()
            found[name] = (outputs.get_length(), inputs.get_length())
    assert found
    return found


def other_work() -> list[npt.NDArray[np.float32]]:
    """Return blocks that take the memory that the runtime has freed, as other work of a process does.

    While they are kept, the runtime's next tensors have other addresses than those of the last call.
    """
    return [np.full(size, 7.0, np.float32) for size in _BLOCK_SIZES for _ in range(_BLOCKS)]
