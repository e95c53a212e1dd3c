"""Recognises a checkpoint in which all parts of a model are together, by the names and shapes of its weights alone.

Such a file has no configuration. Those of its kind are in ``tools/exporter/configs``, and only a file whose weights are
exactly those of its kind is taken: reduced widths tell neither the heads of an attention nor its activation.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cli.errors import UserError
from cli.export.foreign_files import refuse_foreign
from cli.export.prediction import Prediction, prediction_of
from cli.export.source import ExportSource
from cli.local.child_environment import PROJECT_ROOT
from graphs.adapters.safetensors_file import SafetensorsHeader, StoredTensor, read_header
from graphs.adapters.tensors import FLOATS
from graphs.errors import NotSafetensors
from graphs.repository.servables import MODEL_INDEX

CONFIGS = PROJECT_ROOT / "tools" / "exporter" / "configs"

_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
_PLAIN_CHANNELS = 4
_INPAINTING_CHANNELS = 9
_CONV_WEIGHTS = 3 * 3
# Trained for 768 pixels, of which a latent pixel is 8.
_SAMPLE_SIZE_OF_V = 96
_MOST_NAMED = 3


def is_single_file(path: Path) -> bool:
    """Return whether a source is one file: it is there, or its name says so."""
    return path.is_file() or path.suffix.lower() in (".safetensors", *_PICKLES)


def read_single_file(file: Path, prediction_type: str | None) -> tuple[ExportSource, str]:
    """Return what a file holds, and a sentence on how it was understood.

    ``prediction_type`` is the person's word on what the denoiser predicts, None without one. Raises UserError for a
    file that is no checkpoint of a kind that can be exported.
    """
    header = _header(file)
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    refuse_foreign(file, shapes)
    known = json.loads((CONFIGS / "kinds.json").read_text(encoding="utf-8"))
    kind_name, kind = _kind(file, shapes, known["kinds"])
    parts = _parts(file, header.tensors, kind["parts"], known["left_out"])
    first = shapes[_FIRST_LAYER]
    channels = first[1]
    _check_parameters(file, kind, parts, added=math.prod(first[:1]) * _CONV_WEIGHTS * (channels - _PLAIN_CHANNELS))
    is_inpainting = channels == _INPAINTING_CHANNELS
    prediction = prediction_of(file, header, prediction_type, may_measure=kind_name == "sd2" and not is_inpainting)
    changes = _changes(kind_name, prediction, channels)
    if is_inpainting:
        changes[MODEL_INDEX] = {"_class_name": kind["inpainting"]}
    single_file = {
        "configs": str(CONFIGS / kind_name),
        "changes": changes,
        "parts": {name: {"prefix": part["prefix"]} for name, part in kind["parts"].items()},
        "left_out": known["left_out"],
        "bytes": file.stat().st_size,
        "modified_ns": file.stat().st_mtime_ns,
    }
    index = json.loads((CONFIGS / kind_name / MODEL_INDEX).read_text(encoding="utf-8"))
    class_name = {**index, **changes.get(MODEL_INDEX, {})}["_class_name"]
    return ExportSource(file, class_name, parts, single_file), (
        f"{file.name} is {kind['name']}{' for inpainting' if is_inpainting else ''} and predicts {prediction.type}: "
        f"{prediction.reason}"
    )


def _header(file: Path) -> SafetensorsHeader:
    if not file.is_file():
        raise UserError(f"there is no file {file}.")
    if file.suffix.lower() in _PICKLES:
        raise UserError(f"{file} is a pickle, which may run code when it is read; take the .safetensors file.")
    try:
        return read_header(file)
    except NotSafetensors as error:
        raise UserError(f"{file} is no model: {error}.") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error


def _kind(file: Path, names: Iterable[str], kinds: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    prefixes = {kind["known_by"]: (name, kind) for name, kind in kinds.items()}
    found = next((prefix for name in names for prefix in prefixes if name.startswith(prefix)), None)
    if found is None:
        known = ", ".join(kind["name"] for kind in kinds.values())
        raise UserError(f"{file} is no single file that is known here ({known}); give a folder in diffusers form.")
    return prefixes[found]


def _parts(
    file: Path, tensors: Mapping[str, StoredTensor], parts: dict[str, Any], left_out: list[str]
) -> dict[str, int]:
    """Return the parameters of each part. Raises UserError for a weight of no part, or of another type."""
    unneeded = re.compile("|".join(f"(?:{pattern})" for pattern in left_out))
    counts = dict.fromkeys(parts, 0)
    strangers = []
    for name, tensor in tensors.items():
        if unneeded.fullmatch(name):
            continue
        part = next((part for part, facts in parts.items() if name.startswith(facts["prefix"])), None)
        if part is None:
            strangers.append(name)
            continue
        if tensor.dtype not in FLOATS:
            raise UserError(f"{file}: {name} is stored as {tensor.dtype}; take a file in f32, f16 or bf16.")
        counts[part] += math.prod(tensor.shape)
    if strangers:
        more = f" and {len(strangers) - _MOST_NAMED} more" if len(strangers) > _MOST_NAMED else ""
        raise UserError(f"{file}: no part of the model has {', '.join(sorted(strangers)[:_MOST_NAMED])}{more}.")
    return counts


def _check_parameters(file: Path, kind: dict[str, Any], found: dict[str, int], *, added: int) -> None:
    """Raise UserError where a part is not exactly as large as in models of its kind.

    ``added`` is what the UNet has more than that for its additional channels.
    """
    for part, count in found.items():
        wanted = kind["parts"][part]["parameters"] + (added if part == "unet" else 0)
        if count == 0:
            raise UserError(f"{file} has no {part} ({kind['parts'][part]['prefix']}*); take the full checkpoint.")
        if count != wanted:
            raise UserError(
                f"{file} has a {part} of {count:,} parameters, and that of {kind['name']} has {wanted:,}. A single "
                "file with other widths or layers tells neither heads nor activation: give a folder in diffusers form."
            )


def _changes(kind_name: str, prediction: Prediction, channels: int) -> dict[str, dict[str, Any]]:
    """Return what is other than in the configurations of the kind, by their files."""
    unet: dict[str, Any] = {} if channels == _PLAIN_CHANNELS else {"in_channels": channels}
    scheduler: dict[str, Any] = {"prediction_type": prediction.type}
    if prediction.type == "v_prediction" and kind_name == "sd2":
        unet["sample_size"] = _SAMPLE_SIZE_OF_V
    if prediction.type == "v_prediction" and kind_name != "sdxl":
        scheduler |= {"_class_name": "DDIMScheduler", "clip_sample": False}
    if prediction.has_zero_terminal_snr:
        # Only these steps begin at the last time, at which such a model was trained to see noise alone.
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "linspace"}
    changes = {"unet/config.json": unet, "scheduler/scheduler_config.json": scheduler}
    return {path: changed for path, changed in changes.items() if changed}
