"""Checks a scheduler_config.json: what GenAI 2026.4 was measured to refuse, by the scheduler's class.

Some values are refused when the model is loaded, some at its first generation, and some draw one single colour.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from graphs.errors import RepositoryError
from graphs.families.family import FLOW_MATCH_SCHEDULERS, INTEGER_TIME_SCHEDULERS
from graphs.families.model_facts import ModelFacts, read_json_file

_EULER = ("EulerDiscreteScheduler",)
_CLIPPING = ("DDIMScheduler", "LMSDiscreteScheduler")
_CLIPPING_OR_LCM = (*_CLIPPING, "LCMScheduler")

# Key -> the values that are known, by the classes that read it. Others than texts are taken for the default.
_TEXTS: dict[str, tuple[Collection[str], tuple[str, ...]]] = {
    "beta_schedule": (INTEGER_TIME_SCHEDULERS, ("linear", "scaled_linear")),
    "prediction_type": (INTEGER_TIME_SCHEDULERS, ("epsilon", "sample", "v_prediction")),
    "timestep_spacing": (INTEGER_TIME_SCHEDULERS, ("leading", "linspace", "trailing")),
    "final_sigmas_type": (_EULER, ("zero", "sigma_min")),
    "interpolation_type": (_EULER, ("linear", "log_linear")),
    "timestep_type": (_EULER, ("discrete", "continuous")),
}
# Key -> the value that is refused and the runtime's default, by the classes that read it.
_FLAGS: dict[str, tuple[Collection[str], bool, bool]] = {
    "clip_sample": (_CLIPPING, True, True),
    "thresholding": (_CLIPPING_OR_LCM, True, False),
    "use_karras_sigmas": (_EULER, True, False),
    "use_beta_sigmas": (_EULER, True, False),
    "skip_prk_steps": (("PNDMScheduler",), False, False),
}
_NUMBERS: dict[str, Collection[str]] = {
    "beta_start": INTEGER_TIME_SCHEDULERS,
    "beta_end": INTEGER_TIME_SCHEDULERS,
    "steps_offset": INTEGER_TIME_SCHEDULERS,
    "shift": FLOW_MATCH_SCHEDULERS,
    "base_shift": FLOW_MATCH_SCHEDULERS,
    "max_shift": FLOW_MATCH_SCHEDULERS,
}


def check_scheduler(models_path: Path, facts: ModelFacts) -> None:
    """Check the scheduler of a model. Raises RepositoryError, which names the file, the key and what to write."""
    path = models_path / "scheduler" / "scheduler_config.json"
    scheduler = facts.scheduler
    if scheduler not in facts.family.schedulers:
        raise RepositoryError(
            f"{path}: _class_name is {scheduler!r}, a scheduler that OpenVINO GenAI does not have for {facts.family} "
            f"models; write one of {', '.join(facts.family.schedulers)}."
        )
    config = read_json_file(path)
    for key, (classes, known) in _TEXTS.items():
        value = config.get(key)
        if scheduler in classes and isinstance(value, str) and value not in known:
            raise _refusal(path, key, value, f"write one of {', '.join(known)}")
    for key, (classes, refused, default) in _FLAGS.items():
        if scheduler in classes:
            _check_flag(path, key, config.get(key), refused=refused, default=default)
    for key, classes in _NUMBERS.items():
        value = config.get(key)
        if scheduler in classes and value is not None and (isinstance(value, bool) or not _is_number(value)):
            raise _refusal(path, key, value, "write a number")
    _check_ranges(path, config, facts)


def _check_flag(path: Path, key: str, value: Any, *, refused: bool, default: bool) -> None:
    if value is None:
        value = default
    if value is not (not refused):
        raise _refusal(path, key, value, f"write {str(not refused).lower()}, and see that the images are right")


def _check_ranges(path: Path, config: dict[str, Any], facts: ModelFacts) -> None:
    if facts.scheduler in FLOW_MATCH_SCHEDULERS:
        if config.get("shift") is not None and config["shift"] <= 0:
            raise _refusal(path, "shift", config["shift"], "write a number above 0")
        return
    if config.get("steps_offset") is not None and config["steps_offset"] < 0:
        raise _refusal(path, "steps_offset", config["steps_offset"], "write 0 or 1")
    betas = config.get("trained_betas")
    if isinstance(betas, list) and len(betas) != facts.num_train_timesteps:
        raise _refusal(path, "trained_betas", f"{len(betas)} numbers", f"write null, or {facts.num_train_timesteps}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _refusal(path: Path, key: str, value: Any, remedy: str) -> RepositoryError:
    return RepositoryError(f"{path}: {key} is {value!r}, which OpenVINO GenAI cannot draw with; {remedy}.")
