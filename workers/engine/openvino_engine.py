"""The engine on OpenVINO GenAI: one set of pipelines, one generation at a time.

Several images of a request are drawn one by one, with one random generator that keeps its state, or a new one for each
(``seeds: each``). GenAI 2026.4 cannot draw a batch when inpainting (nor image to image on SD3 and FLUX), the pixels
equal those of a batch (except on LCM, whose scheduler draws its noise in another order), and on a CPU it is faster.
Only a graph that is compiled for a batch draws it in one call.
"""

import gc
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from graphs.definition.devices import uses_npu, with_stand_ins
from graphs.definition.graph import Graph, LoraMode
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts
from graphs.families.schedules import makes_other_step_count
from graphs.requests.request import AdapterSelection, ResolvedRequest
from workers.engine.adapters.adapter_set import AdapterSet
from workers.engine.adapters.model_copy import adapted_model
from workers.engine.call_arguments import call_options, input_tensors
from workers.engine.checks.known_picture import KnownPicture
from workers.engine.checks.known_request import KnownRequest, check_equal_images, known_request
from workers.engine.checks.verdict import Trouble
from workers.engine.devices import keeps_input_addresses, thread_properties
from workers.engine.pipelines import RUNTIME_ERRORS, LoadOptions, load_pipelines, reason, static_batch
from workers.engine.prompt_batch import PromptBatch
from workers.engine.protocol import DrawingFailed, Generated, InputImages, OnStep, Pixels
from workers.engine.stage_seconds import stage_seconds
from workers.engine.step_watch import StepWatch

logger = logging.getLogger(__name__)


class OpenVinoEngine:
    """Draws with the pipelines of one graph. Only one thread may use it at a time."""

    def __init__(
        self,
        graph: Graph,
        facts: ModelFacts,
        *,
        device: tuple[str, ...],
        stand_ins: Mapping[str, str] | None = None,
        cache_dir: Path | None,
        most_threads: int | None = None,
        ranks_change: bool | None = None,
        checks_images: bool = True,
    ) -> None:
        """``device`` has one entry, or three: text encoders, denoising, VAE. It is what the rules are judged by.

        ``stand_ins``: the devices that the model is compiled for in place of others (tests without the hardware).
        ``cache_dir`` is the folder of compiled models; None keeps none. ``most_threads``: how many threads a CPU
        computes with, unless the graph says it; None: as many as OpenVINO chooses. ``ranks_change``: whether the ranks
        of adapted layers change from call to call; None: where the device draws wrong images without that
        (zero_adapters.py).
        ``checks_images``: whether a graph with adapters has to draw the known request equally (known_request.py).
        """
        self._graph = graph
        self._facts = facts
        self._device = device
        self._compiled_device = with_stand_ins(device, stand_ins or {})
        self._cache_dir = cache_dir
        self._threads = thread_properties(self._compiled_device, graph.plugin_config, most_threads)
        self._ranks_change = (
            keeps_input_addresses(self._compiled_device, graph.plugin_config) if ranks_change is None else ranks_change
        )
        self._checks_images = checks_images
        self._batch = static_batch(graph, facts)
        self._pipelines: dict[Operation, Any] = {}
        self._adapters: AdapterSet | None = None
        self._prompt_batch = PromptBatch(is_kept=False)
        self._known_picture: KnownPicture | None = None

    def load(self) -> frozenset[Operation]:
        """Load and compile the model, and return the operations that it supports.

        Raises EngineError with a sentence for a file or device that does not exist or cannot be used, where it does not
        draw the known picture, and where the same request does not draw the same image with the graph's adapters.
        """
        if self._threads:
            logger.info("%s is compiled with %s, for the quota of CPU time", self._graph.name, self._threads)
        at_construction = self._graph.is_compiled_at_construction(self._device)
        self._compile(
            AdapterSet(
                self._graph, self._facts.family, at_construction=at_construction, ranks_change=self._ranks_change
            )
        )
        try:
            self._draw_known_picture()
            self._check_equal_images()
        except EngineError:
            self.unload()
            raise
        return frozenset(self._pipelines)

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        """Draw the request's images, ``uint8 [height, width, 3]`` each.

        ``on_step`` is called in a thread of the runtime while this one waits. Raises GenerationCancelled when
        ``on_step`` returned True, the exception that it raised, DrawingFailed when the runtime failed or computed
        infinite numbers, or EngineError for a request that is not drawn here.
        """
        pipeline = self._pipeline(request)
        per_call = min(self._batch, request.num_images_per_prompt)
        calls = request.num_images_per_prompt // per_call
        watch = StepWatch(on_step, calls, self._step_limit(request), partial(_decoded, pipeline))
        arguments = input_tensors(request, inputs)
        options = {
            **call_options(request),
            **self._prompt_batch.options(request),
            "num_images_per_prompt": per_call,
            "callback": watch,
        }
        images: list[Pixels] = []
        seconds: Counter[str] = Counter()
        steps_s: list[float] = []
        for index in range(calls):
            if (seed := request.seed_of(index)) is not None:
                options["generator"] = openvino_genai.CppStdGenerator(seed)
            images.extend(
                _draw(pipeline, request.prompt, arguments, {**options, **self._adapter_option(request)}, watch)
            )
            if self._adapters:
                self._adapters.call_drew()
            metrics = pipeline.get_performance_metrics()
            seconds.update(stage_seconds(metrics))
            steps_s.extend(duration_us / 1e6 for duration_us in metrics.raw_metrics.iteration_durations)
        return Generated(images=images, seconds=dict(seconds), steps_s=steps_s)

    def add_adapter(self, alias: str, path: Path) -> None:
        """Make a LoRA adapter selectable until the next ``load``; to be called between two generations.

        The model is compiled again when the adapter changes layers that no other adapter changes. Raises EngineError,
        and changes nothing, also where the same request does not draw the same image with the adapter.
        """
        adapters = self._loaded_adapters()
        if uses_npu(self._device):
            raise EngineError("The NPU cannot switch adapters; none can be added.")
        must_compile = adapters.add(alias, path)
        try:
            if must_compile:
                self._compile(adapters)
                self._draw_known_picture()
            self._check_equal_images(alias)
        except EngineError as error:
            adapters.remove(alias)
            if must_compile:
                self._compile(adapters)
                self._draw_known_picture()
            raise EngineError(f"The adapter {alias!r} ({path}) cannot be added. {error.message}") from error

    def remove_adapter(self, alias: str) -> None:
        """Remove a selectable adapter, between two generations only. Raises EngineError for an unknown alias."""
        self._loaded_adapters().remove(alias)

    def draws_known_picture(self) -> bool:
        """Draw the known picture again, and return whether it is that of the compiled models as they were new."""
        return self._known_picture is not None and self._known_picture.is_right()

    def unload(self) -> None:
        """Free the model's memory."""
        self._pipelines = {}
        self._adapters = None
        gc.collect()

    @property
    def switches_adapters(self) -> bool:
        """Whether each request carries its adapters (dynamic mode), not the compiled models; False before ``load``."""
        return self._adapters is not None and self._adapters.mode is LoraMode.DYNAMIC

    def _pipeline(self, request: ResolvedRequest) -> Any:
        if self._prompt_batch.must_reload(request):
            logger.warning("%s is loaded anew, to draw with another number of prompts", self._graph.name)
            self._compile(self._loaded_adapters())
        pipeline = self._pipelines.get(request.operation)
        if pipeline is None:
            raise EngineError(f"The model {self._graph.name!r} is not loaded for {request.operation}.")
        return pipeline

    def _loaded_adapters(self) -> AdapterSet:
        if self._adapters is None:
            raise EngineError(f"The model {self._graph.name!r} is not loaded.")
        return self._adapters

    def _compile(self, adapters: AdapterSet) -> None:
        # The old pipelines are freed first: two sets might not fit into memory.
        self.unload()
        properties = self._properties(adapters)
        with adapted_model(self._graph.models_path, adapters.changes, self._cache_dir) as models_path:
            options = LoadOptions(self._graph, self._compiled_device, properties, self._batch, models_path)
            self._pipelines = load_pipelines(options)
        self._adapters = adapters
        self._prompt_batch = self._new_prompt_batch()

    def _new_prompt_batch(self) -> PromptBatch:
        family = self._facts.family
        scale = self._graph.guidance_scale
        default = max(family.guidance_scale.values()) if scale is None else scale
        keeps = family.keeps_prompt_batch and not self._graph.is_static
        return PromptBatch(is_kept=keeps, graph_has_guidance=default > 1)

    def _draw_known_picture(self) -> None:
        """Draw the known picture with models that were compiled just now. Raises EngineError."""
        known = known_request(self._graph, self._facts, self._pipelines)
        self._known_picture = KnownPicture(self._draw_known, known, " ".join(self._device))

    def _check_equal_images(self, added: str | None = None) -> None:
        """Check the graph with all of its adapters, or with the ``added`` one alone. Raises EngineError."""
        adapters = self._loaded_adapters()
        if adapters.mode is None or not self._checks_images:
            return
        selections = adapters.covering() if added is None else (AdapterSelection(alias=added, alpha=1.0),)
        known = known_request(self._graph, self._facts, self._pipelines, selections)
        check_equal_images(self._draw_known, known, " ".join(self._device))

    def _draw_known(self, known: KnownRequest) -> list[Pixels]:
        return self.generate(known.request, known.inputs, lambda _step: False).images

    def _properties(self, adapters: AdapterSet) -> dict[str, Any]:
        properties = dict(self._threads)
        if self._cache_dir is not None:
            properties["CACHE_DIR"] = str(self._cache_dir)
        properties.update(self._graph.plugin_config)
        if (config := adapters.compile_config()) is not None:
            properties["adapters"] = config
        return properties

    def _adapter_option(self, request: ResolvedRequest) -> dict[str, Any]:
        """Return the adapters of the next call, which differ from those of the call before it."""
        config = self._adapters.request_config(request.adapters) if self._adapters else None
        return {} if config is None else {"adapters": config}

    def _step_limit(self, request: ResolvedRequest) -> int | None:
        """Return the maximum of steps in a call; None where GenAI rightly makes another number than requested."""
        if request.operation is not Operation.GENERATION or makes_other_step_count(self._facts):
            return None
        return request.num_inference_steps


def _draw(
    pipeline: Any,
    prompt: str,
    arguments: list[openvino.Tensor],
    options: dict[str, Any],
    watch: StepWatch,
) -> list[Pixels]:
    """Call the pipeline once and return its images, copied out of the runtime's memory."""
    try:
        tensor = pipeline.generate(prompt, *arguments, **options)
    except RUNTIME_ERRORS as error:
        watch.raise_if_stopped()
        raise DrawingFailed(Trouble.RUNTIME_ERROR, f"The runtime failed: {reason(error)}") from error
    watch.end_call(len(pipeline.get_performance_metrics().raw_metrics.iteration_durations))
    # Checked first: after a stop at the last step, the runtime still returns images.
    watch.raise_if_stopped()
    watch.check_finite()
    images = np.array(tensor.data)
    if images.ndim != 4:
        raise DrawingFailed(Trouble.RUNTIME_ERROR, "The runtime returned no image.")
    return list(images)


def _decoded(pipeline: Any, latent: Any) -> Pixels:
    """Return the unfinished first image of the batch; inside the step callback only."""
    image: Pixels = np.array(pipeline.decode(latent).data)[0]
    return image
