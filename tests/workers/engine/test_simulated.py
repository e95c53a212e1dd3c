"""The simulated engine: what its images depend on, its steps, and its crash on demand."""

import multiprocessing
import signal
import time
from typing import Any

import numpy as np
import pytest

from graphs.families.family import Operation
from graphs.requests.request import AdapterSelection, ResolvedRequest
from workers.engine.checks.verdict import Trouble
from workers.engine.images import has_one_value
from workers.engine.protocol import DrawingFailed, GenerationCancelled, InputImages, Pixels, Step
from workers.engine.simulated import SimulatedEngine
from workers.engine.simulated_faults import SimulatedDevice, SimulatedFault


def make_request(**changes: Any) -> ResolvedRequest:
    fields: dict[str, Any] = {
        "operation": Operation.GENERATION,
        "graph": "g",
        "model": "m",
        "prompt": "a red fox",
        "width": 48,
        "height": 32,
        "num_images_per_prompt": 1,
        "num_inference_steps": 3,
        "guidance_scale": 7.5,
        "rng_seed": 7,
    }
    return ResolvedRequest(**{**fields, **changes})


def make_inputs(mask: bool = False, value: int = 200) -> InputImages:
    half = np.zeros((16, 16), dtype=np.uint8)
    half[:, 8:] = 255
    return InputImages(image=np.full((16, 16, 3), value, dtype=np.uint8), mask=half if mask else None)


def draw(request: ResolvedRequest, inputs: InputImages | None = None) -> list[Pixels]:
    return SimulatedEngine(0).generate(request, inputs, lambda step: False).images


def test_it_supports_all_operations() -> None:
    assert SimulatedEngine(0).load() == frozenset(Operation)


def test_size_and_number_are_honoured_and_images_differ() -> None:
    images = draw(make_request(num_images_per_prompt=3))

    assert [image.shape for image in images] == [(32, 48, 3)] * 3
    assert {str(image.dtype) for image in images} == {"uint8"}
    assert len({image.tobytes() for image in images}) == 3
    np.testing.assert_array_equal(images[0], draw(make_request())[0])


def test_images_with_a_seed_each_are_those_of_requests_alone() -> None:
    each = draw(make_request(num_images_per_prompt=3, rng_seed=2**32 - 1, seeds="each"))

    np.testing.assert_array_equal(each, [draw(make_request(rng_seed=seed))[0] for seed in (2**32 - 1, 0, 1)])


def test_the_output_format_and_the_name_of_the_model_do_not_change_the_pixels() -> None:
    first = draw(make_request(), None)[0]
    second = draw(make_request(output_format="webp", output_compression=3, graph="x", model="y"))[0]

    np.testing.assert_array_equal(first, second)
    assert first.std() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a blue whale"},
        {"prompt_2": "x"},
        {"negative_prompt": "x"},
        {"rng_seed": 8},
        {"num_inference_steps": 4},
        {"guidance_scale": 1.0},
        {"adapters": (AdapterSelection(alias="a", alpha=1.0),)},
        {"adapters": (AdapterSelection(alias="a", alpha=0.5),)},
    ],
)
def test_every_parameter_changes_the_image(changes: dict[str, Any]) -> None:
    assert (draw(make_request(**changes))[0] != draw(make_request())[0]).any()


def test_inputs_change_the_image_and_the_mask_keeps_its_black_part() -> None:
    edit = make_request(operation=Operation.EDIT, strength=0.8)
    inpainting = make_request(operation=Operation.INPAINTING, strength=1.0)

    assert (draw(edit, make_inputs())[0] != draw(edit, make_inputs(value=90))[0]).any()
    image = draw(inpainting, make_inputs(mask=True))[0]
    assert (image[:, :24] == 200).all()
    assert (image[:, 24:] != 200).any()


def test_steps_are_counted_over_all_images() -> None:
    steps: list[Step] = []

    def on_step(step: Step) -> bool:
        steps.append(step)
        return False

    SimulatedEngine(0).generate(make_request(num_images_per_prompt=2), None, on_step)

    assert steps == [Step(number, 6) for number in range(1, 7)]


def _draw_with_fatal_words(prompt: str) -> None:
    SimulatedEngine(0, "segmentation fault").generate(make_request(prompt=prompt), None, lambda step: False)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("prompt", "exit_code"), [("a segmentation fault, at dawn", -signal.SIGKILL), ("a red fox", 0)]
)
def test_fatal_words_end_the_process(prompt: str, exit_code: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_draw_with_fatal_words, args=(prompt,))
    process.start()
    process.join(60)
    assert process.exitcode == exit_code


def test_cancel_stops_after_that_step() -> None:
    steps: list[int] = []

    def on_step(step: Step) -> bool:
        steps.append(step.number)
        return step.number == 2

    with pytest.raises(GenerationCancelled):
        SimulatedEngine(0).generate(make_request(), None, on_step)

    assert steps == [1, 2]


def test_generate_raises_the_exception_of_on_step() -> None:
    def on_step(step: Step) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SimulatedEngine(0).generate(make_request(), None, on_step)


def test_a_step_lasts_for_step_s() -> None:
    started = time.monotonic()
    result = SimulatedEngine(0.02).generate(make_request(), None, lambda step: False)

    assert time.monotonic() - started >= 0.06
    assert result.seconds["denoise"] == pytest.approx(0.06)
    assert set(result.seconds) == {"text_encode", "denoise", "vae_encode", "vae_decode", "generate"}


def faulty_engine(breaks_after: int | None = None) -> SimulatedEngine:
    engine = SimulatedEngine(0, device=SimulatedDevice(breaks_after))
    engine.load()
    return engine


def draw_with(engine: SimulatedEngine, **changes: Any) -> Pixels:
    return engine.generate(make_request(**changes), None, lambda step: False).images[0]


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [(SimulatedFault.RUNTIME_ERROR, Trouble.RUNTIME_ERROR), (SimulatedFault.NOT_FINITE, Trouble.NOT_FINITE)],
)
def test_a_request_at_fault_fails_and_the_device_is_right(fault: SimulatedFault, trouble: Trouble) -> None:
    engine = faulty_engine()
    with pytest.raises(DrawingFailed) as caught:
        draw_with(engine, prompt=f"a fox, {fault}")
    assert caught.value.trouble is trouble
    assert engine.draws_known_picture()


def test_images_of_one_value_and_plain_ones_are_drawn() -> None:
    engine = faulty_engine()
    assert has_one_value(draw_with(engine, prompt=SimulatedFault.ONE_VALUE))
    plain = draw_with(engine, prompt=SimulatedFault.PLAIN)
    assert (plain.min(), plain.max()) == (253, 255)
    assert engine.draws_known_picture()


def test_a_broken_device_draws_nothing_right_any_more() -> None:
    engine = faulty_engine(breaks_after=2)
    for _ in range(2):
        assert not has_one_value(draw_with(engine))
        assert engine.draws_known_picture()
    found = set()
    for seed in range(3):
        try:
            assert has_one_value(draw_with(engine, rng_seed=seed))
            found.add(Trouble.ONE_VALUE)
        except DrawingFailed as error:
            found.add(error.trouble)
        assert not engine.draws_known_picture()
    assert found == set(Trouble)


def test_a_request_may_break_the_device() -> None:
    engine = faulty_engine()
    with pytest.raises(DrawingFailed):
        draw_with(engine, prompt=SimulatedFault.BROKEN_DEVICE, rng_seed=0)
    assert not engine.draws_known_picture()
