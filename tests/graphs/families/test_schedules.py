import pytest

from graphs.families.schedules import draws_noise, nearest_good_steps
from graphs.families.sd import SD
from graphs.families.sdxl import SDXL
from tests.graphs.facts_support import facts_of

TRAILING = facts_of(SDXL, scheduler="EulerDiscreteScheduler", timestep_spacing="trailing")
NOISE_OF_1000 = """9 11 12 18 21 22 30 31 34 35 36 42 43 48 49 53 54 56 61 62 63 66 67 68 69 70 73 74 75 77 78 79 90 93
 95 97"""


def test_the_counts_that_draw_noise_with_trailing_spacing_are_known() -> None:
    found = [steps for steps in range(1, 101) if draws_noise(TRAILING, steps)]
    assert found == [int(steps) for steps in NOISE_OF_1000.split()]
    assert len(found) == 36


@pytest.mark.parametrize(
    ("scheduler", "spacing"),
    [
        ("DDIMScheduler", "leading"),
        ("EulerDiscreteScheduler", "linspace"),
        ("PNDMScheduler", "leading"),
        ("LCMScheduler", "trailing"),
        ("FlowMatchEulerDiscreteScheduler", "trailing"),
    ],
)
def test_other_schedules_always_draw_an_image(scheduler: str, spacing: str) -> None:
    facts = facts_of(SD, scheduler=scheduler, timestep_spacing=spacing)
    assert not any(draws_noise(facts, steps) for steps in range(1, 101))


def test_pndm_with_linspace_spacing_draws_noise_at_seven_steps_only() -> None:
    facts = facts_of(SD, scheduler="PNDMScheduler", timestep_spacing="linspace")
    assert [steps for steps in range(1, 101) if draws_noise(facts, steps)] == [7]


def test_the_number_of_training_steps_matters() -> None:
    facts = facts_of(SD, timestep_spacing="trailing", num_train_timesteps=1024)
    assert not draws_noise(facts, 16)
    assert [s for s in range(1, 101) if draws_noise(facts, s)] != [s for s in range(1, 101) if draws_noise(TRAILING, s)]


@pytest.mark.parametrize(
    ("steps", "limit", "good"),
    [(9, 100, [8, 10]), (35, 100, [33, 37]), (75, 100, [72, 76]), (9, 9, [8]), (97, 97, [96]), (12, 12, [10])],
)
def test_the_nearest_good_counts_are_suggested(steps: int, limit: int, good: list[int]) -> None:
    assert nearest_good_steps(TRAILING, steps, limit) == good
