"""Facts about schedulers, which hold for every family: step counts that draw noise, and inexact step counts.

With ``timestep_spacing: "trailing"`` GenAI 2026.4 counts time steps down from ``num_train_timesteps`` in
single precision: ``for (i = T; i > 0; i -= T / n)``. For some n the rounding leaves a remainder above zero, one
time step too many is made, and the image is noise, without any error. Repeating that arithmetic in single
precision finds exactly these counts (36 of 1..100 for T = 1000; a test asks the runtime about each of them).
"""

from graphs.families.model_facts import ModelFacts
from graphs.families.strength import single

_WITHOUT_SPACING = ("FlowMatchEulerDiscreteScheduler", "LCMScheduler")
_PNDM = "PNDMScheduler"


def draws_noise(facts: ModelFacts, num_inference_steps: int) -> bool:
    """Return whether this model would draw noise with this many steps (at least 1)."""
    if facts.scheduler in _WITHOUT_SPACING:
        return False
    if facts.timestep_spacing == "trailing":
        return _trailing_timesteps(facts.num_train_timesteps, num_inference_steps) != num_inference_steps
    # Measured: PNDM with linspace spacing is right for every count but this one.
    return facts.scheduler == _PNDM and facts.timestep_spacing == "linspace" and num_inference_steps == 7


def makes_other_step_count(facts: ModelFacts) -> bool:
    """Return whether the scheduler rightly makes another number of steps than requested."""
    return facts.scheduler == _PNDM


def nearest_good_steps(facts: ModelFacts, num_inference_steps: int, limit: int) -> list[int]:
    """Return up to two step counts that draw an image, the closest below and above, none over ``limit``."""
    below = (n for n in range(num_inference_steps - 1, 0, -1) if not draws_noise(facts, n))
    above = (n for n in range(num_inference_steps + 1, limit + 1) if not draws_noise(facts, n))
    return [n for n in (next(below, None), next(above, None)) if n is not None]


def _trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> int:
    """Return how many time steps the runtime makes, counted no further than one too many."""
    ratio = single(num_train_timesteps / num_inference_steps)
    position = single(float(num_train_timesteps))
    count = 0
    while position > 0 and count <= num_inference_steps:
        position = single(position - ratio)
        count += 1
    return count
