"""Loads three OpenVINO GenAI pipelines that share one set of compiled models.

Inpainting is loaded from disk; image to image and text to image are derived from it. A pipeline that cannot be derived
is loaded from disk too, and one that cannot be loaded is left out.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino
import openvino_genai

from graphs.definition.graph import Graph
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts
from workers.engine.devices import device_exists

logger = logging.getLogger(__name__)

# From a pipeline of each kind, pipelines of all later kinds can be derived.
_KINDS: tuple[tuple[Operation, type[Any]], ...] = (
    (Operation.INPAINTING, openvino_genai.InpaintingPipeline),
    (Operation.EDIT, openvino_genai.Image2ImagePipeline),
    (Operation.GENERATION, openvino_genai.Text2ImagePipeline),
)
# The binding raises these for std::runtime_error, invalid_argument, out_of_range, bad_alloc, and for arguments that fit
# no overload (a plugin_config key with the name of a parameter of compile()).
RUNTIME_ERRORS = (RuntimeError, ValueError, IndexError, MemoryError, TypeError)
_NOISE = ("Exception from ", "Check '")


@dataclass(frozen=True)
class LoadOptions:
    """How pipelines are compiled: one device or three, and the properties given to ``compile()``.

    ``models_path`` is the directory to load, which may be a copy of the graph's.
    """

    graph: Graph
    device: tuple[str, ...]
    properties: Mapping[str, Any]
    batch: int
    models_path: Path

    @property
    def is_compiled_at_construction(self) -> bool:
        """Return whether the pipelines are compiled while they are constructed.

        Only then do adapters of all families reach every text encoder.
        """
        return self.graph.is_compiled_at_construction(self.device)


def static_batch(graph: Graph, facts: ModelFacts) -> int:
    """Return how many images one call draws: 1 unless the graph is compiled for a batch."""
    if not graph.is_static or not facts.family.draws_static_batches:
        return 1
    return graph.num_images_per_prompt or 1


def load_pipelines(options: LoadOptions) -> dict[Operation, Any]:
    """Load the pipelines that the models directory allows and return them by operation, ready to generate.

    Raises EngineError with a sentence when a device or a tokenizer does not exist or no pipeline can be loaded.
    """
    _check_devices(options.device)
    _check_tokenizers(options.graph.models_path)
    found: dict[Operation, Any] = {}
    missing: dict[Operation, str] = {}
    for operation, kind in _KINDS:
        if options.batch > 1 and operation is not Operation.GENERATION:
            missing[operation] = f"the runtime edits one image at a time, and the batch is {options.batch}"
            continue
        try:
            found[operation] = _load(kind, found, options)
        except RUNTIME_ERRORS as error:
            missing[operation] = reason(error)
    models_path = options.graph.models_path
    if not found:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        raise EngineError(f"The model in {models_path} cannot be loaded on {' '.join(options.device)}: {reasons}")
    for operation, why in missing.items():
        logger.warning("The model in %s is not available for %s: %s", models_path, operation, why)
    return found


def reason(error: Exception) -> str:
    """Return the last informative line of a runtime's message, which is no location in the C++ sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    informative = [line for line in lines if line and not line.startswith(_NOISE)]
    return informative[-1] if informative else type(error).__name__


def _load(kind: type[Any], found: dict[Operation, Any], options: LoadOptions) -> Any:
    for source in reversed(found.values()):
        try:
            return _derived(kind, source, options.models_path)
        except RUNTIME_ERRORS as error:
            logger.info("%s is loaded from disk: %s", kind.__name__, reason(error))
    return _from_disk(kind, options)


def _derived(kind: type[Any], source: Any, models_path: Path) -> Any:
    pipeline = kind(source)
    # On SD3 and FLUX a derived pipeline has no scheduler, and its first generation would end the process.
    config = models_path / "scheduler" / "scheduler_config.json"
    pipeline.set_scheduler(openvino_genai.Scheduler.from_config(str(config)))
    return pipeline


def _from_disk(kind: type[Any], options: LoadOptions) -> Any:
    graph = options.graph
    if "adapters" in options.properties and options.is_compiled_at_construction:
        return kind(str(options.models_path), *options.device, **options.properties)
    pipeline = kind(str(options.models_path))
    if graph.is_static:
        size = graph.resolution[0]
        guidance_scale = graph.guidance_scale
        if guidance_scale is None:
            guidance_scale = pipeline.get_generation_config().guidance_scale
        pipeline.reshape(options.batch, size.height, size.width, guidance_scale)
    pipeline.compile(*options.device, **options.properties)
    return pipeline


def _check_tokenizers(models_path: Path) -> None:
    """Raise EngineError for a missing tokenizer: the runtime loads such a model and fails at its first prompt."""
    for encoder in sorted(models_path.glob("text_encoder*")):
        tokenizer = models_path / encoder.name.replace("text_encoder", "tokenizer") / "openvino_tokenizer.xml"
        if not tokenizer.is_file():
            raise EngineError(
                f"The model in {models_path} cannot be loaded: {tokenizer.relative_to(models_path)} is missing. "
                "Export it again with openvino-tokenizers installed, or make it with convert_tokenizer."
            )


def _check_devices(devices: tuple[str, ...]) -> None:
    available = openvino.Core().available_devices
    for device in devices:
        if not device_exists(device, available):
            raise EngineError(f"The device {device!r} does not exist here; there is {', '.join(available) or 'none'}.")
