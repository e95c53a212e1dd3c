"""The tiny models, requests for them, and images that OpenVINO GenAI draws without our engine."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
import pytest

from graphs.definition.graph import Graph
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts, read_model_facts
from graphs.requests.request import ResolvedRequest
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Generated, InputImages, OnStep, Pixels, Step

MODELS = Path(__file__).parents[2] / "models"
FAMILIES = ("sd", "lcm", "sdxl", "sd3", "flux")
F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # in bf16, otherwise equal graphs draw slightly different pixels
SIDE = 64
STEPS = 2
# Generation in `make test`, the others in `make test-thorough`: each compiles a pipeline of its own to compare with.
OPERATIONS_BY_TIER = [
    Operation.GENERATION,
    pytest.param(Operation.EDIT, marks=pytest.mark.thorough),
    pytest.param(Operation.INPAINTING, marks=pytest.mark.thorough),
]
CLASSES: dict[Operation, type[Any]] = {
    Operation.GENERATION: openvino_genai.Text2ImagePipeline,
    Operation.EDIT: openvino_genai.Image2ImagePipeline,
    Operation.INPAINTING: openvino_genai.InpaintingPipeline,
}


def make_graph(models_path: Path, **options: Any) -> Graph:
    return Graph(name="tiny", models_path=models_path, plugin_config=F32, **options)


def load_engine(graph: Graph, *, device: tuple[str, ...] = ("CPU",), cache_dir: Path | None = None) -> OpenVinoEngine:
    engine = OpenVinoEngine(graph, read_model_facts(graph.models_path), device=device, cache_dir=cache_dir)
    engine.load()
    return engine


@dataclass(frozen=True)
class LoadedFamily:
    """The loaded engine of the tiny model of a family."""

    family: str
    facts: ModelFacts
    engine: OpenVinoEngine


class Engines:
    """The engine of each tiny model, loaded when a test first needs it."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._loaded: dict[str, LoadedFamily] = {}

    def of(self, family: str) -> LoadedFamily:
        """Return the engine of a family. A test must not add adapters to it or unload it."""
        if family not in self._loaded:
            engine = load_engine(make_graph(MODELS / family), cache_dir=self._cache_dir)
            self._loaded[family] = LoadedFamily(family, read_model_facts(MODELS / family), engine)
        return self._loaded[family]

    def unload(self) -> None:
        for loaded in self._loaded.values():
            loaded.engine.unload()


def make_request(facts: ModelFacts, operation: Operation, **changes: Any) -> ResolvedRequest:
    fields: dict[str, Any] = {
        "operation": operation,
        "graph": "tiny",
        "model": "tiny",
        "prompt": "a red fox",
        "width": SIDE,
        "height": SIDE,
        "num_images_per_prompt": 1,
        "num_inference_steps": STEPS,
        "guidance_scale": facts.family.guidance_scale[operation],
        "strength": None if operation is Operation.GENERATION else 0.9,
        "rng_seed": 7,
        "max_sequence_length": facts.family.max_sequence_length,
    }
    return ResolvedRequest(**{**fields, **changes})


def make_inputs(operation: Operation, side: int = SIDE) -> InputImages | None:
    """Return a random image, and for inpainting a mask that repaints its right half."""
    if operation is Operation.GENERATION:
        return None
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[:, side // 2 :] = 255
    return InputImages(image=image, mask=mask if operation is Operation.INPAINTING else None)


def never_stop(step: Step) -> bool:
    return False


def draw(engine: OpenVinoEngine, request: ResolvedRequest, on_step: OnStep = never_stop) -> Generated:
    return engine.generate(request, make_inputs(request.operation, request.width), on_step)


def draw_raw(pipeline: Any, request: ResolvedRequest, **more: Any) -> list[Pixels]:
    """Return the images of an OpenVINO GenAI pipeline, called as its documentation says."""
    inputs = make_inputs(request.operation)
    arguments = []
    if inputs is not None:
        arguments.append(openvino.Tensor(inputs.image[np.newaxis]))
        if inputs.mask is not None:
            arguments.append(openvino.Tensor(np.stack([inputs.mask] * 3, axis=-1)[np.newaxis]))
    options: dict[str, Any] = more if request.strength is None else {**more, "strength": request.strength}
    if request.max_sequence_length is not None:
        options["max_sequence_length"] = request.max_sequence_length
    tensor = pipeline.generate(
        request.prompt,
        *arguments,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        num_images_per_prompt=request.num_images_per_prompt,
        guidance_scale=request.guidance_scale,
        rng_seed=request.rng_seed,
        **options,
    )
    return list(np.array(tensor.data))


def copy_model(name: str | Path, folder: Path) -> Path:
    """Copy a tiny model or that of a path, whose files are read-only, into ``folder``, and return the writable copy."""
    target = folder / Path(name).name
    shutil.copytree(MODELS / name, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
