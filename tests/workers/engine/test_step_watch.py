"""Every step is reported once, also those that the runtime drops at the end of a call."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from workers.engine.protocol import DrawingFailed, GenerationCancelled, Step
from workers.engine.step_watch import StepWatch


class Steps(list[Step]):
    """Keeps the steps that are reported to it; ``answer`` stops the pipeline."""

    def keep(self, step: Step, *, answer: bool = False) -> bool:
        self.append(step)
        return answer


def test_steps_that_a_call_dropped_are_reported_when_it_has_returned() -> None:
    steps = Steps()
    watch = StepWatch(steps.keep, calls=2, step_limit=None)

    for reported in (1, 3):
        for step in range(reported):
            assert not watch(step, 3, latent=None)
        watch.end_call(3)

    watch.raise_if_stopped()
    assert steps == [Step(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize("reported", [(1, 0), (0, 1), (0, 0)])
def test_a_call_may_drop_all_of_its_steps(reported: tuple[int, int]) -> None:
    steps = Steps()
    watch = StepWatch(steps.keep, calls=2, step_limit=None)

    for count in reported:
        for step in range(count):
            watch(step, 1, latent=None)
        watch.end_call(1)

    assert steps == [Step(1, 2), Step(2, 2)]


def test_a_dropped_step_may_cancel() -> None:
    watch = StepWatch(lambda step: step.number == 2, calls=1, step_limit=None)
    watch(0, 3, latent=None)
    watch.end_call(3)

    with pytest.raises(GenerationCancelled):
        watch.raise_if_stopped()


def test_nothing_is_reported_after_a_stop() -> None:
    steps = Steps()
    watch = StepWatch(partial(steps.keep, answer=True), calls=1, step_limit=None)
    assert watch(0, 3, latent=None)
    watch.end_call(3)

    assert steps == [Step(1, 3)]


def test_an_exception_of_a_dropped_step_passes() -> None:
    def on_step(step: Step) -> bool:
        if step.number == 2:
            raise LookupError
        return False

    watch = StepWatch(on_step, calls=1, step_limit=None)
    watch(0, 2, latent=None)

    with pytest.raises(LookupError):
        watch.end_call(2)


class Latent:
    """What the runtime passes to its callback, as far as it is read."""

    def __init__(self, *numbers: float) -> None:
        self.data: npt.NDArray[Any] = np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_infinite_numbers_in_the_last_latent_are_an_error_of_that_call_only(bad: float) -> None:
    watch = StepWatch(lambda step: False, calls=2, step_limit=None)
    watch(0, 2, Latent(1.0, 2.0))
    watch(1, 2, Latent(1.0, bad))
    watch.end_call(2)

    with pytest.raises(DrawingFailed, match="infinite or not a number"):
        watch.check_finite()
    watch.check_finite()


def test_finite_latents_and_a_call_without_callbacks_are_no_error() -> None:
    watch = StepWatch(lambda step: False, calls=1, step_limit=None)
    watch.check_finite()
    watch(0, 1, Latent(3.4e38, 0.0))
    watch.check_finite()
