"""Loading of pipelines: static shapes, devices, incomplete models, and the errors for them."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.resolution import Resolution
from tests.workers.engine.engine_support import (
    MODELS,
    SIDE,
    Engines,
    copy_model,
    draw,
    edit_json,
    load_engine,
    make_graph,
    make_request,
)
from tests.workers.engine.flux_fill import make_flux_fill
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.pipelines import reason
from workers.engine.protocol import Step

pytestmark = pytest.mark.usefixtures("openvino_runtime")

STATIC = (Resolution(SIDE, SIDE),)


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_a_static_graph_draws_in_all_operations(family: str) -> None:
    facts = read_model_facts(MODELS / family)
    engine = load_engine(make_graph(MODELS / family, resolution=STATIC))

    for operation in Operation:
        assert draw(engine, make_request(facts, operation)).images[0].shape == (SIDE, SIDE, 3)


def test_a_static_batch_is_drawn_in_one_call_and_cannot_edit(
    caplog: pytest.LogCaptureFixture, engines: Engines
) -> None:
    facts = read_model_facts(MODELS / "sd")
    single = engines.of("sd").engine
    engine = OpenVinoEngine(
        make_graph(MODELS / "sd", resolution=STATIC, num_images_per_prompt=2), facts, device=("CPU",), cache_dir=None
    )
    request = make_request(facts, Operation.GENERATION, num_images_per_prompt=2)
    steps: list[Step] = []

    def on_step(step: Step) -> bool:
        steps.append(step)
        return False

    operations = engine.load()
    batch = draw(engine, request, on_step)

    assert operations == {Operation.GENERATION}
    assert "one image at a time" in caplog.text
    assert steps == [Step(1, 2), Step(2, 2)]
    # A batch is computed in another order than two single images: one number differed by 1.
    np.testing.assert_allclose(
        np.array(batch.images, dtype=int), np.array(draw(single, request).images, dtype=int), atol=1
    )


def test_a_static_batch_of_lcm_is_drawn_one_by_one() -> None:
    facts = read_model_facts(MODELS / "lcm")
    engine = load_engine(make_graph(MODELS / "lcm", resolution=STATIC, num_images_per_prompt=2))

    for operation in Operation:
        assert len(draw(engine, make_request(facts, operation, num_images_per_prompt=2)).images) == 2


def test_three_devices(cache_dir: Path) -> None:
    facts = read_model_facts(MODELS / "sd")
    engine = load_engine(make_graph(MODELS / "sd"), device=("CPU", "CPU", "CPU"), cache_dir=cache_dir)

    assert draw(engine, make_request(facts, Operation.EDIT)).images


def test_an_unknown_device_names_those_that_exist() -> None:
    with pytest.raises(EngineError, match=r"The device 'GPU\.7' does not exist here; there is CPU"):
        load_engine(make_graph(MODELS / "sd"), device=("CPU", "GPU.7", "CPU"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"NO_SUCH_OPTION": "x"}, "Unsupported property NO_SUCH_OPTION"),
        ({"device": "CPU"}, "kwargs: device"),
    ],
)
def test_a_plugin_config_that_the_runtime_refuses(options: dict[str, str], message: str) -> None:
    graph = make_graph(MODELS / "sd").model_copy(update={"plugin_config": options})

    with pytest.raises(EngineError, match=message):
        load_engine(graph)


def test_plugin_config_keeps_its_json_types_and_its_cache_folder_has_priority(tmp_path: Path) -> None:
    options = {
        "CACHE_DIR": str(tmp_path / "graph"),
        "NUM_STREAMS": 1,
        "ENABLE_MMAP": False,
        "PERFORMANCE_HINT": "LATENCY",
    }
    graph = make_graph(MODELS / "sd").model_copy(update={"plugin_config": options})
    load_engine(graph, cache_dir=tmp_path / "worker")

    assert list((tmp_path / "graph").glob("*.blob"))
    assert not (tmp_path / "worker").exists()


def test_unload_and_load_again_from_the_cache_folder(tmp_path: Path) -> None:
    cache_dir = tmp_path / "new" / "cache"
    engine = load_engine(make_graph(MODELS / "lcm"), cache_dir=cache_dir)
    request = make_request(read_model_facts(MODELS / "lcm"), Operation.GENERATION)
    before, blobs = draw(engine, request).images, set(cache_dir.glob("*.blob"))
    engine.unload()

    with pytest.raises(EngineError, match="not loaded for generation"):
        draw(engine, request)

    assert engine.load() == frozenset(Operation)
    np.testing.assert_array_equal(draw(engine, request).images, before)
    assert blobs
    assert set(cache_dir.glob("*.blob")) == blobs


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("unet/config.json", "Failed to open .*unet/config.json"),
        ("unet/openvino_model.xml", "Could not open the file"),
    ],
)
def test_the_error_for_a_broken_model_is_one_sentence(tmp_path: Path, broken: str, message: str) -> None:
    model = copy_model("sd", tmp_path)
    facts = read_model_facts(model)
    (model / broken).unlink()
    engine = OpenVinoEngine(make_graph(model), facts, device=("CPU",), cache_dir=None)

    with pytest.raises(EngineError, match=message) as caught:
        engine.load()

    assert caught.value.message.startswith(f"The model in {model} cannot be loaded on CPU: ")
    assert "/src/cpp/" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("family", "tokenizer"), [("sd", "tokenizer"), ("sd3", "tokenizer_3"), ("flux", "tokenizer_2")]
)
def test_a_missing_tokenizer_is_an_error_at_load(tmp_path: Path, family: str, tokenizer: str) -> None:
    model = copy_model(family, tmp_path)
    (model / tokenizer / "openvino_tokenizer.xml").unlink()

    with pytest.raises(EngineError, match=f"{tokenizer}/openvino_tokenizer.xml is missing. Export it again"):
        load_engine(make_graph(model))


def test_truncated_weights_are_an_error(tmp_path: Path) -> None:
    model = copy_model("sd", tmp_path)
    (model / "unet" / "openvino_model.bin").write_bytes(b"short")

    with pytest.raises(EngineError, match="Incorrect weights in bin file"):
        load_engine(make_graph(model))


def test_without_a_vae_encoder_only_generation_works(
    tmp_path: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = copy_model("sd", tmp_path)
    shutil.rmtree(model / "vae_encoder")
    facts = read_model_facts(model)
    engine = OpenVinoEngine(make_graph(model), facts, device=("CPU",), cache_dir=cache_dir)

    with caplog.at_level(logging.WARNING):
        assert engine.load() == {Operation.GENERATION}

    assert "not available for edit" in caplog.text
    assert draw(engine, make_request(facts, Operation.GENERATION)).images
    with pytest.raises(EngineError, match="not loaded for edit"):
        draw(engine, make_request(facts, Operation.EDIT))


def test_a_flux_fill_model_only_inpaints(tmp_path: Path, cache_dir: Path) -> None:
    model = make_flux_fill(tmp_path)
    engine = OpenVinoEngine(make_graph(model), read_model_facts(model), device=("CPU",), cache_dir=cache_dir)

    assert engine.load() == {Operation.INPAINTING}


def test_after_refusing_to_draw_noise_the_engine_draws_again(tmp_path: Path, cache_dir: Path) -> None:
    model = copy_model("sd", tmp_path)
    edit_json(model / "scheduler" / "scheduler_config.json", timestep_spacing="trailing")
    facts = read_model_facts(model)
    engine = load_engine(make_graph(model), cache_dir=cache_dir)

    with pytest.raises(EngineError, match="would draw noise"):
        draw(engine, make_request(facts, Operation.GENERATION, num_inference_steps=9))

    assert draw(engine, make_request(facts, Operation.GENERATION, num_inference_steps=8)).images


def test_reason_leaves_out_locations_in_the_sources() -> None:
    error = RuntimeError("Exception from a.cpp:1:\nCheck 'x' failed at b.cpp:2:\nThe part that helps.\n\n")

    assert reason(error) == "The part that helps."
    assert reason(RuntimeError("Check 'x' failed at b.cpp:2:\n")) == "RuntimeError"
