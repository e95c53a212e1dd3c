"""What a model's own JSON files say about it, and what follows for requests.

The family rules are what OpenVINO GenAI 2026.4 was measured to accept (``tests/workers/engine/test_genai_contract.py``
asks the runtime itself); the rest is read from the files that a diffusers export carries.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from graphs.errors import RepositoryError
from graphs.operator_files import read_text
from graphs.resolution import Resolution


class Operation(StrEnum):
    """What is done to get a picture."""

    GENERATION = "generation"
    EDIT = "edit"
    INPAINTING = "inpainting"


class Family(StrEnum):
    """The pipeline families of OpenVINO GenAI."""

    SD = "Stable Diffusion"
    LCM = "Latent Consistency Model"
    SDXL = "Stable Diffusion XL"
    SD3 = "Stable Diffusion 3"
    FLUX = "FLUX"
    FLUX_FILL = "FLUX Fill"


@dataclass(frozen=True)
class FamilyRules:
    """The defaults and limits of a family: ``prompts`` text encoders that take a prompt of their own."""

    prompts: int
    negative_prompts: int
    guidance_scale: dict[Operation, float]
    strength: dict[Operation, float]
    size_multiple: int = 8
    guidance_above_one: bool = False
    max_sequence_length: int | None = None


def _same(value: float) -> dict[Operation, float]:
    return dict.fromkeys(Operation, value)


_G, _E, _I = Operation.GENERATION, Operation.EDIT, Operation.INPAINTING

FAMILY_RULES: dict[Family, FamilyRules] = {
    Family.SD: FamilyRules(1, 1, _same(7.5), {_E: 0.8, _I: 1.0}),
    Family.LCM: FamilyRules(1, 0, _same(8.5), {_E: 0.8, _I: 1.0}),
    Family.SDXL: FamilyRules(2, 2, {_G: 5.0, _E: 5.0, _I: 7.5}, {_E: 0.3, _I: 0.9999}),
    Family.SD3: FamilyRules(3, 3, _same(7.0), {_E: 0.6, _I: 0.6}, 16, True, 256),
    Family.FLUX: FamilyRules(2, 0, {_G: 3.5, _E: 7.0, _I: 7.0}, {_E: 0.6, _I: 0.6}, 16, False, 512),
    Family.FLUX_FILL: FamilyRules(2, 0, _same(30.0), {_E: 1.0, _I: 1.0}, 16, False, 512),
}

# The first prefix that fits a model_index.json's _class_name decides.
_CLASS_PREFIXES = (
    ("LatentConsistencyModel", Family.LCM),
    ("StableDiffusionXL", Family.SDXL),
    ("StableDiffusion3", Family.SD3),
    ("StableDiffusion", Family.SD),
    ("FluxFill", Family.FLUX_FILL),
    ("Flux", Family.FLUX),
)


_LARGEST_COUNT = 2**20
_MOST_LEVELS = 16


@dataclass(frozen=True)
class ModelFacts:
    """What requests for a model must respect. ``native_resolution`` is in pixels."""

    class_name: str
    family: Family
    native_resolution: Resolution
    scheduler: str
    timestep_spacing: str
    num_train_timesteps: int

    @property
    def rules(self) -> FamilyRules:
        """The defaults and limits of this model's family."""
        return FAMILY_RULES[self.family]


def read_model_facts(models_path: Path) -> ModelFacts:
    """Read model_index.json and the configurations it leads to.

    Takes the models directory. Raises RepositoryError when a file is missing or says nothing usable.
    """
    index = _read_json(models_path / "model_index.json")
    class_name = str(index.get("_class_name", ""))
    scheduler_path = models_path / "scheduler" / "scheduler_config.json"
    scheduler = _read_json(scheduler_path)
    return ModelFacts(
        class_name=class_name,
        family=_family(class_name, models_path),
        native_resolution=_native_resolution(models_path),
        scheduler=str(scheduler.get("_class_name", "")),
        timestep_spacing=str(scheduler.get("timestep_spacing", "leading")),
        num_train_timesteps=_count(scheduler_path, "num_train_timesteps", scheduler.get("num_train_timesteps"), 1000),
    )


def _family(class_name: str, models_path: Path) -> Family:
    for prefix, family in _CLASS_PREFIXES:
        if class_name.startswith(prefix):
            return family
    raise RepositoryError(
        f"{models_path / 'model_index.json'}: _class_name is {class_name!r}, which is no image pipeline that "
        "OpenVINO GenAI loads (StableDiffusion, StableDiffusionXL, StableDiffusion3, "
        "LatentConsistencyModel or Flux)."
    )


def _native_resolution(models_path: Path) -> Resolution:
    """The size that the denoiser was trained for: its latent size times what the VAE enlarges."""
    folder = "unet" if (models_path / "unet").is_dir() else "transformer"
    denoiser_path, vae_path = models_path / folder / "config.json", models_path / "vae_decoder" / "config.json"
    size = _read_json(denoiser_path).get("sample_size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    channels = _read_json(vae_path).get("block_out_channels", [0] * 4)
    levels = len(channels) if isinstance(channels, list) else 0
    # A list of thousands would make a number that Python refuses to write.
    levels = levels if levels <= _MOST_LEVELS else 0
    scale = 2 ** (_count(vae_path, "block_out_channels", levels, 4) - 1)
    return Resolution(*(_count(denoiser_path, "sample_size", side, 128) * scale for side in (width, height)))


def _count(path: Path, name: str, value: object, default: int) -> int:
    """A whole number above 0 as a configuration states it, or the default for none."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_COUNT:
        raise RepositoryError(f"{path}: {name} cannot be used; it must be a whole number above 0, or a list of them.")
    return value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except ValueError as error:
        raise RepositoryError(f"{path}: {error} Is the model complete?") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{path}: is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RepositoryError(f"{path}: must hold a JSON object.")
    return content
