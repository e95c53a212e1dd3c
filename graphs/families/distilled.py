"""Distilled models, which draw in few steps: how many, and the guidance, by the model's name and its family.

The figures are those of the models' own cards (SDXL-Turbo, SD3.5-Large-Turbo, SDXL-Lightning, Hyper-SD,
LCM-Dreamshaper, FLUX.1-schnell). A model whose name says a number of steps (``4step``) was distilled for that number.
"""

import re
from dataclasses import dataclass

from graphs.families.lcm import LCM
from graphs.families.model_facts import ModelFacts
from graphs.families.schedules import draws_noise, nearest_good_steps

_STEPS = re.compile(r"(\d{1,2})[-_ ]?steps?(?![a-z])")
_WITHOUT_GUIDANCE = ("turbo", "lightning", "hyper-sd", "hyper_sd")
# A part of the name -> steps where the name says no number.
_KINDS = {"turbo": 4, "lightning": 4, "hyper-sd": 8, "hyper_sd": 8, "schnell": 4, "lcm": 4}
_MOST_STEPS = 100


@dataclass(frozen=True)
class FewSteps:
    """Steps and guidance of a distilled model; ``guidance_scale`` None stands for the default of its family."""

    num_inference_steps: int
    guidance_scale: float | None = None


def few_steps_of(name: str, facts: ModelFacts) -> FewSteps | None:
    """Return what a model of this name (``org/name``) draws with, None for one that is not distilled."""
    name = name.lower()
    kind = next((kind for kind in _KINDS if kind in name), None)
    if kind is None and facts.family is not LCM and facts.scheduler != "LCMScheduler":
        return None
    said = _STEPS.search(name)
    steps = int(said[1]) if said and 0 < int(said[1]) <= _MOST_STEPS else _KINDS[kind or "lcm"]
    if draws_noise(facts, steps):
        steps = nearest_good_steps(facts, steps, _MOST_STEPS)[-1]
    return FewSteps(steps, 0.0 if kind in _WITHOUT_GUIDANCE else None)
