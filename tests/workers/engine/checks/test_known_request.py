"""A graph with adapters is loaded only where the device draws the known request equally each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs.definition.graph import LoraAdapter, LoraMode
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.resolution import Resolution
from tests.support.own_process import run_in_own_process
from tests.workers.engine.adapter_support import UNET, draw_image, write_kohya, write_native
from tests.workers.engine.engine_support import MODELS, Engines, load_engine, make_graph, never_stop
from tests.workers.engine.equality_support import POOLED, hide_pooled_prompts, layers_of, write_adapter
from tests.workers.engine.flux_fill import make_flux_fill
from workers.engine.checks.known_request import KnownRequest, difference, known_request
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Pixels

pytestmark = pytest.mark.usefixtures("openvino_runtime", "processes")

GENERATION = (Operation.GENERATION,)
UNEQUAL = (
    r"the model 'tiny' does not draw the same image for the same request on CPU \(values differ by up to \d+ of 255"
)
# The wrong memory may also hold what is no number; then the first image says so, before two are compared.
NO_NUMBER = r"infinite or not a number \(NaN\)"


def engine_without_cure(family: str, **options: Any) -> OpenVinoEngine:
    graph = make_graph(MODELS / family, **options)
    return OpenVinoEngine(
        graph, read_model_facts(graph.models_path), device=graph.device, cache_dir=None, ranks_change=False
    )


def test_a_graph_whose_images_differ_is_not_loaded(tmp_path: Path) -> None:
    run_in_own_process(refuse_a_graph, tmp_path)


def refuse_a_graph(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.safetensors", MODELS / "sdxl", "sdxl", 1)
    engine = engine_without_cure("sdxl", lora_adapters=(LoraAdapter(alias="a", path=path),))

    with pytest.raises(EngineError, match=rf"{UNEQUAL}.*INFERENCE_PRECISION_HINT.*mode: FUSE.*OpenVINO|{NO_NUMBER}"):
        engine.load()

    with pytest.raises(EngineError, match="not loaded for generation"):
        draw_image(engine, "sdxl", a=1.0)


@pytest.mark.thorough
def test_an_added_adapter_with_which_images_differ_is_refused(tmp_path: Path) -> None:
    """The engine draws on as before, whether or not the adapter needed other compiled models."""
    run_in_own_process(refuse_an_added_adapter, tmp_path)


def refuse_an_added_adapter(tmp_path: Path) -> None:
    good = write_kohya(tmp_path / "good.safetensors", UNET, 1)
    bad = write_adapter(tmp_path / "bad.safetensors", MODELS / "sdxl", "sdxl", 2)
    engine = engine_without_cure("sdxl", lora_adapters=(LoraAdapter(alias="good", path=good),))
    engine.load()
    before = draw_image(engine, "sdxl", good=1.0)

    for _ in range(2):
        with pytest.raises(EngineError, match=rf"'new' \({bad}\) cannot be added\. .*({UNEQUAL}|{NO_NUMBER})"):
            engine.add_adapter("new", bad)
        np.testing.assert_array_equal(draw_image(engine, "sdxl", good=1.0), before)
        with pytest.raises(EngineError, match="'new' is not loaded"):
            draw_image(engine, "sdxl", new=1.0)
    engine.add_adapter("new", good)
    np.testing.assert_array_equal(draw_image(engine, "sdxl", new=1.0), before)


@pytest.mark.thorough
def test_a_layer_that_is_computed_from_the_wrong_memory_is_refused(tmp_path: Path) -> None:
    run_in_own_process(refuse_a_layer, tmp_path)


def refuse_a_layer(tmp_path: Path) -> None:
    model = hide_pooled_prompts(tmp_path)
    path = write_kohya(
        tmp_path / "p.safetensors", layers_of(MODELS / "sd3" / "transformer", (POOLED,)), 1, start="lora_transformer_"
    )
    graph = make_graph(model, lora_adapters=(LoraAdapter(alias="p", path=path),))

    with pytest.raises(EngineError, match=rf"{UNEQUAL}|{NO_NUMBER}"):
        load_engine(graph)

    engine = load_engine(make_graph(model))
    before = draw_image(engine, "sd3")
    with pytest.raises(EngineError, match=rf"'p' .* cannot be added\. .*({UNEQUAL}|{NO_NUMBER})"):
        engine.add_adapter("p", path)
    np.testing.assert_array_equal(draw_image(engine, "sd3"), before)
    engine.add_adapter("good", write_native(tmp_path / "good.safetensors", "sd3", 2))


@pytest.mark.parametrize("family", ["sd", "sd3", "flux"])
def test_a_right_engine_draws_the_known_request_equally(engines: Engines, family: str) -> None:
    """Without adapters too: it is meant for any check of a device."""
    loaded = engines.of(family)
    known = known_request(make_graph(MODELS / family), loaded.facts, tuple(Operation))

    def drawn(one: KnownRequest) -> list[Pixels]:
        return loaded.engine.generate(one.request, one.inputs, never_stop).images

    assert difference(drawn, known) == 0
    assert not np.array_equal(drawn(known), drawn(known.other()))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (64, 64)),
        ({"resolution": (Resolution(128, 256),)}, (128, 256)),
        ({"resolution": (Resolution(512, 512), Resolution(256, 128))}, (256, 128)),
        ({"max_resolution": Resolution(300, 60)}, (64, 56)),
        ({"default_resolution": Resolution(512, 512)}, (64, 64)),
        ({"device": ("NPU",), "resolution": (Resolution(512, 512),)}, (512, 512)),
    ],
)
def test_it_is_the_smallest_that_the_graph_allows(options: dict[str, Any], size: tuple[int, int]) -> None:
    known = known_request(make_graph(MODELS / "sd", **options), read_model_facts(MODELS / "sd"), GENERATION)
    assert (known.request.width, known.request.height) == size
    assert (known.request.num_inference_steps, known.request.num_images_per_prompt) == (1, 1)
    assert known.inputs is None


def test_it_is_what_the_graph_is_compiled_for() -> None:
    options = {"resolution": (Resolution(64, 64),), "num_images_per_prompt": 4, "guidance_scale": 1.0}
    known = known_request(make_graph(MODELS / "sd3", **options), read_model_facts(MODELS / "sd3"), GENERATION)
    assert (known.request.num_images_per_prompt, known.request.guidance_scale) == (4, 1.0)


def test_guidance_is_that_of_the_graph() -> None:
    """SD3 keeps whether its first request had guidance."""
    facts = read_model_facts(MODELS / "sd3")
    assert known_request(make_graph(MODELS / "sd3"), facts, GENERATION).request.guidance_scale == 7.0
    graph = make_graph(MODELS / "sd3", guidance_scale=0.0)
    assert known_request(graph, facts, GENERATION).request.guidance_scale == 0.0


@pytest.mark.thorough
@pytest.mark.parametrize("mode", list(LoraMode))
def test_a_model_that_only_inpaints(mode: LoraMode, tmp_path: Path) -> None:
    model = make_flux_fill(tmp_path)
    path = write_adapter(tmp_path / "a.safetensors", model, "flux fill", 1)
    engine = load_engine(make_graph(model, lora_adapters=(LoraAdapter(alias="a", path=path, mode=mode),)))
    assert engine.switches_adapters == (mode is LoraMode.DYNAMIC)
