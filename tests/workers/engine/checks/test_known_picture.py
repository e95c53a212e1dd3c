"""The known picture tells a request at fault from a device at fault, on real pipelines."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from graphs.definition.graph import LoraAdapter
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from tests.support.damaged_model import overwrite_largest_constant
from tests.workers.engine.adapter_support import UNET, draw_image, kohya_tensors, write_kohya
from tests.workers.engine.engine_support import (
    FAMILIES,
    MODELS,
    Engines,
    copy_model,
    draw,
    load_engine,
    make_graph,
    make_request,
)
from workers.engine.checks.verdict import Trouble
from workers.engine.protocol import DrawingFailed

pytestmark = pytest.mark.usefixtures("openvino_runtime")

_CURE = r"INFERENCE_PRECISION_HINT.*f32.*TEXT_ENCODE DENOISE VAE.*max_resolution"


@pytest.mark.parametrize("family", ["sd", *(pytest.param(name, marks=pytest.mark.thorough) for name in FAMILIES[1:])])
def test_every_family_draws_it_again(engines: Engines, family: str) -> None:
    loaded = engines.of(family)
    for prompt in ("a red fox", "a blue whale", ""):
        draw(loaded.engine, make_request(loaded.facts, Operation.GENERATION, prompt=prompt))
        assert loaded.engine.draws_known_picture()


def test_a_request_that_the_runtime_refuses_leaves_it_right(engines: Engines) -> None:
    loaded = engines.of("sd")
    with pytest.raises(DrawingFailed, match=r"^The runtime failed: Both") as caught:
        draw(loaded.engine, make_request(loaded.facts, Operation.GENERATION, width=60))
    assert caught.value.trouble is Trouble.RUNTIME_ERROR
    assert loaded.engine.draws_known_picture()


def test_an_adapter_that_is_too_strong_fails_and_leaves_it_right(tmp_path: Path) -> None:
    adapter = LoraAdapter(alias="a", path=write_kohya(tmp_path / "a.safetensors", UNET, 1))
    engine = load_engine(make_graph(MODELS / "sd", lora_adapters=(adapter,)))
    before = draw_image(engine, "sd", a=1.0)

    with pytest.raises(DrawingFailed, match="infinite or not a number") as caught:
        draw_image(engine, "sd", a=1e38)

    assert caught.value.trouble is Trouble.NOT_FINITE
    assert engine.draws_known_picture()
    np.testing.assert_array_equal(draw_image(engine, "sd", a=1.0), before)


def test_an_adapter_with_which_nothing_is_drawn_is_refused(tmp_path: Path) -> None:
    tensors = kohya_tensors(UNET, 1, "lora_unet_")
    for name in tensors:
        if name.endswith("lora_up.weight"):
            tensors[name] = np.full_like(tensors[name], 3e38)
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    with pytest.raises(EngineError, match="infinite or not a number"):
        load_engine(make_graph(MODELS / "sd", lora_adapters=(LoraAdapter(alias="a", path=path),)))


@pytest.mark.parametrize(
    ("part", "byte", "trouble"),
    [("text_encoder", 0xFF, Trouble.NOT_FINITE), ("text_encoder", 0, None)],
)
def test_a_model_that_is_damaged_while_it_is_served(
    tmp_path: Path, part: str, byte: int, trouble: Trouble | None
) -> None:
    model = copy_model(bundled_model_path(), tmp_path)
    facts = read_model_facts(model)
    engine = load_engine(make_graph(model))
    assert engine.draws_known_picture()

    overwrite_largest_constant(model / part, byte)

    assert not engine.draws_known_picture()
    if trouble is not None:
        with pytest.raises(DrawingFailed) as caught:
            draw(engine, make_request(facts, Operation.GENERATION))
        assert caught.value.trouble is trouble
        with pytest.raises(EngineError, match=rf"'tiny' cannot draw a test image of 64x64 on CPU\. .*{_CURE}"):
            load_engine(make_graph(model))
