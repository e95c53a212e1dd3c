"""The engine on real pipelines with random weights draws exactly what OpenVINO GenAI draws."""

from pathlib import Path

import numpy as np
import pytest

from graphs.errors import EngineError
from graphs.families.family import Operation
from tests.workers.engine.engine_support import (
    CLASSES,
    F32,
    FAMILIES,
    MODELS,
    OPERATIONS_BY_TIER,
    SIDE,
    STEPS,
    Engines,
    LoadedFamily,
    draw,
    draw_raw,
    make_inputs,
    make_request,
    never_stop,
)
from workers.engine.protocol import GenerationCancelled, Step

pytestmark = pytest.mark.usefixtures("openvino_runtime")

OPERATIONS = tuple(Operation)


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, engines: Engines) -> LoadedFamily:
    return engines.of(request.param)


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_the_engine_draws_what_a_separate_pipeline_draws(
    loaded: LoadedFamily, operation: Operation, cache_dir: Path
) -> None:
    request = make_request(loaded.facts, operation)
    raw = CLASSES[operation](str(MODELS / loaded.family), "CPU", CACHE_DIR=str(cache_dir), **F32)

    result = draw(loaded.engine, request)

    assert [image.shape for image in result.images] == [(SIDE, SIDE, 3)]
    assert result.images[0].dtype == np.uint8
    np.testing.assert_array_equal(result.images, draw_raw(raw, request))
    if operation is Operation.GENERATION and loaded.family != "lcm":  # LCM draws the noise of a batch in another order
        two = request.model_copy(update={"num_images_per_prompt": 2})
        np.testing.assert_array_equal(draw(loaded.engine, two).images, draw_raw(raw, two))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_first_of_several_images_is_the_single_image(loaded: LoadedFamily, operation: Operation) -> None:
    single = draw(loaded.engine, make_request(loaded.facts, operation)).images
    steps: list[Step] = []

    def on_step(step: Step) -> bool:
        steps.append(step)
        return False

    images = draw(loaded.engine, make_request(loaded.facts, operation, num_images_per_prompt=2), on_step).images

    assert len(images) == 2
    np.testing.assert_array_equal(images[0], single[0])
    assert (images[1] != images[0]).any()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)}


@pytest.mark.parametrize("operation", OPERATIONS_BY_TIER)
def test_images_with_a_seed_each_are_those_of_requests_alone(loaded: LoadedFamily, operation: Operation) -> None:
    alone = [
        draw(loaded.engine, make_request(loaded.facts, operation, rng_seed=seed)).images[0]
        for seed in (2**32 - 2, 2**32 - 1, 0)
    ]
    three = make_request(loaded.facts, operation, rng_seed=2**32 - 2, num_images_per_prompt=3)

    images = draw(loaded.engine, three.model_copy(update={"seeds": "each"})).images

    np.testing.assert_array_equal(images, alone)
    assert (draw(loaded.engine, three).images[1] != images[1]).any(), "without it, one generator draws them all"


def test_operations_do_not_affect_each_other(loaded: LoadedFamily) -> None:
    requests = {operation: make_request(loaded.facts, operation) for operation in OPERATIONS}
    first = {operation: draw(loaded.engine, request).images for operation, request in requests.items()}

    for operation in reversed(OPERATIONS):
        np.testing.assert_array_equal(draw(loaded.engine, requests[operation]).images, first[operation])


@pytest.mark.parametrize("loaded", ["sd", "flux"], indirect=True)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("stop_at", [1, STEPS, STEPS + 1])
def test_cancel_stops_after_that_step(loaded: LoadedFamily, operation: Operation, stop_at: int) -> None:
    request = make_request(loaded.facts, operation, strength=None if operation is Operation.GENERATION else 1.0)
    before = draw(loaded.engine, request).images
    steps: list[int] = []

    def on_step(step: Step) -> bool:
        steps.append(step.number)
        return step.number == stop_at

    with pytest.raises(GenerationCancelled):
        draw(loaded.engine, request.model_copy(update={"num_images_per_prompt": 2}), on_step)

    assert steps == list(range(1, stop_at + 1))
    np.testing.assert_array_equal(draw(loaded.engine, request).images, before)


@pytest.mark.parametrize("loaded", ["sd"], indirect=True)
@pytest.mark.parametrize("error", [ZeroDivisionError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_generate_raises_the_exception_of_on_step(loaded: LoadedFamily, error: BaseException) -> None:
    request = make_request(loaded.facts, Operation.GENERATION)
    before = draw(loaded.engine, request).images

    def on_step(step: Step) -> bool:
        raise error

    with pytest.raises(type(error)) as caught:
        draw(loaded.engine, request, on_step)

    assert caught.value is error
    np.testing.assert_array_equal(draw(loaded.engine, request).images, before)


def test_seconds_by_stage(loaded: LoadedFamily) -> None:
    seconds = draw(loaded.engine, make_request(loaded.facts, Operation.EDIT)).seconds

    assert set(seconds) == {"text_encode", "denoise", "vae_encode", "vae_decode", "generate"}
    assert all(0 < value < 60 for name, value in seconds.items() if name in ("denoise", "generate"))
    assert seconds["generate"] >= seconds["denoise"] + seconds["vae_decode"]


def test_each_step_is_measured_separately(loaded: LoadedFamily) -> None:
    """The steps of all images of the request count, but none of an earlier generation."""
    seen: list[Step] = []
    request = make_request(loaded.facts, Operation.GENERATION, num_images_per_prompt=2)
    draw(loaded.engine, request)

    def on_step(step: Step) -> bool:
        seen.append(step)
        return False

    drawn = draw(loaded.engine, request, on_step)

    assert len(drawn.steps_s) == len(seen) == seen[-1].total
    assert all(step_s > 0 for step_s in drawn.steps_s)
    assert sum(drawn.steps_s) == pytest.approx(drawn.seconds["denoise"])


def test_every_prompt_of_the_family_takes_effect(loaded: LoadedFamily) -> None:
    plain = make_request(loaded.facts, Operation.GENERATION, guidance_scale=8.0)
    base = draw(loaded.engine, plain).images
    names = [f"prompt_{number}" for number in range(2, loaded.facts.family.prompts + 1)]
    names += ["negative_prompt", "negative_prompt_2", "negative_prompt_3"][: loaded.facts.family.negative_prompts]

    for name in names:
        changed = draw(loaded.engine, plain.model_copy(update={name: "blue whale, water, sky"})).images
        assert (changed[0] != base[0]).any(), name


@pytest.mark.parametrize("loaded", ["sd"], indirect=True)
def test_a_request_that_cannot_be_drawn_is_an_error(loaded: LoadedFamily) -> None:
    with pytest.raises(EngineError, match=r"^The runtime failed: Both 'width' and 'height' must be divisible by 8$"):
        draw(loaded.engine, make_request(loaded.facts, Operation.GENERATION, width=60))
    with pytest.raises(EngineError, match="There is no image for edit"):
        loaded.engine.generate(make_request(loaded.facts, Operation.EDIT), None, never_stop)
    image = make_inputs(Operation.EDIT)
    with pytest.raises(EngineError, match="There is no mask"):
        loaded.engine.generate(make_request(loaded.facts, Operation.INPAINTING), image, never_stop)
