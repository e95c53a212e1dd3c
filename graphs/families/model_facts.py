"""What the JSON files of a diffusers export say about a model: its family, native size and scheduler."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphs.errors import RepositoryError
from graphs.families.family import Family
from graphs.families.registry import BY_CLASS_NAME, FAMILIES
from graphs.families.upsampling import constant_doublings
from graphs.operator_files import read_text
from graphs.resolution import Resolution

_LARGEST_COUNT = 2**20
_MOST_LEVELS = 16


@dataclass(frozen=True)
class ModelFacts:
    """What requests for a model must respect. ``native_resolution`` is in pixels.

    ``size_multiple``: both sides of an image are multiples of it, in pixels.
    """

    family: Family
    native_resolution: Resolution
    scheduler: str
    timestep_spacing: str
    num_train_timesteps: int
    size_multiple: int


def read_model_facts(models_path: Path) -> ModelFacts:
    """Read model_index.json and the configurations it leads to.

    Takes the models directory. Raises RepositoryError when a file is missing or says nothing usable.
    """
    index = read_json_file(models_path / "model_index.json")
    class_name = str(index.get("_class_name", ""))
    scheduler_path = models_path / "scheduler" / "scheduler_config.json"
    scheduler = read_json_file(scheduler_path)
    family = _family(class_name, models_path)
    return ModelFacts(
        family=family,
        native_resolution=_native_resolution(models_path),
        scheduler=str(scheduler.get("_class_name", "")),
        timestep_spacing=str(scheduler.get("timestep_spacing", "leading")),
        num_train_timesteps=_count(scheduler_path, "num_train_timesteps", scheduler.get("num_train_timesteps"), 1000),
        size_multiple=family.size_multiple * 2 ** _doublings(models_path),
    )


def _doublings(models_path: Path) -> int:
    try:
        return constant_doublings(models_path)
    except OSError as error:
        raise RepositoryError(f"The UNet in {models_path} cannot be read: {error.strerror or error}.") from error


def _family(class_name: str, models_path: Path) -> Family:
    family = BY_CLASS_NAME.get(class_name)
    if family is None:
        known = ", ".join(other.class_names[0] for other in FAMILIES)
        raise RepositoryError(
            f"{models_path / 'model_index.json'}: _class_name is {class_name!r}, which is no image pipeline that this "
            f"server knows ({known}, or an inpainting variant of these)."
        )
    return family


def _native_resolution(models_path: Path) -> Resolution:
    """Return the size that the denoiser was trained for: its latent size times the scale of the VAE."""
    folder = "unet" if (models_path / "unet").is_dir() else "transformer"
    denoiser_path = models_path / folder / "config.json"
    vae = "vae" if (models_path / "vae").is_dir() else "vae_decoder"  # diffusers saves one folder
    vae_path = models_path / vae / "config.json"
    size = read_json_file(denoiser_path).get("sample_size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    channels = read_json_file(vae_path).get("block_out_channels", [0] * 4)
    levels = len(channels) if isinstance(channels, list) else 0
    # A list of thousands would give a number that Python refuses to print.
    levels = levels if levels <= _MOST_LEVELS else 0
    scale = 2 ** (_count(vae_path, "block_out_channels", levels, 4) - 1)
    return Resolution(*(_count(denoiser_path, "sample_size", side, 128) * scale for side in (width, height)))


def _count(path: Path, name: str, value: object, default: int) -> int:
    """Return a whole number above 0 as a configuration states it, the default where it states none."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_COUNT:
        raise RepositoryError(f"{path}: {name} cannot be used; it must be a whole number above 0, or a list of them.")
    return value


def read_json_file(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a model. Raises RepositoryError."""
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
