"""What is exported: a folder in diffusers form. What cannot be served is refused here, before the hours."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import UserError
from graphs.adapters.safetensors_file import read_header
from graphs.errors import ConfigurationError, NotSafetensors, RepositoryError
from graphs.families.model_facts import read_model_facts
from graphs.repository.scheduler_config import check_scheduler
from graphs.repository.servables import MODEL_INDEX

_DENOISERS = ("unet", "transformer")
# Parts that are not converted: nothing here asks them.
_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True)
class ExportSource:
    """A model of PyTorch: its folder or file, its class, and the parameters of each part by its name.

    ``single_file`` is what the converter needs to know of a file in which all parts are together, None for a folder.
    """

    path: Path
    class_name: str
    parameters: dict[str, int]
    single_file: dict[str, Any] | None = None

    @property
    def total(self) -> int:
        """The parameters of all parts."""
        return sum(self.parameters.values())

    @property
    def largest(self) -> int:
        """The parameters of the largest part."""
        return max(self.parameters.values())


def read_source(folder: Path) -> ExportSource:
    """Return what a folder holds. Raises UserError for one that cannot be exported, or whose model cannot be served."""
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}; give one in diffusers form, a .safetensors file, or a model at Hugging Face "
            "as org/name."
        )
    if not (folder / MODEL_INDEX).is_file():
        raise UserError(f"{folder} has no {MODEL_INDEX}; give a folder in diffusers form.")
    for part in _DENOISERS:
        if (folder / part / "openvino_model.xml").exists():
            raise UserError(f"{folder} is in OpenVINO form already: `imagegen serve --model_path {folder}` serves it.")
    try:
        check_scheduler(folder, read_model_facts(folder))
        parameters = {part: _parameters(folder / part) for part in _parts(folder)}
    except RepositoryError as error:
        raise UserError(f"{folder} cannot be served, so it is not exported: {error.message}") from error
    except (ConfigurationError, OSError) as error:
        raise UserError(f"{folder} cannot be read: {error}") from error
    if not any(parameters.get(part) for part in _DENOISERS):
        raise UserError(f"{folder} has no weights of a {' or '.join(_DENOISERS)} as .safetensors files.")
    index = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8"))
    return ExportSource(folder, str(index["_class_name"]), {part: n for part, n in parameters.items() if n})


def _parts(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name not in _LEFT_OUT and not path.name.startswith(("tokenizer", "scheduler", "."))
    )


def _parameters(part: Path) -> int:
    """Return how many parameters the files of a part hold; of several variants, those of one."""
    if list(part.glob("*.bin")) and not list(part.glob("*.safetensors")):
        raise UserError(f"{part} has pickled weights (.bin), which may run code; take the .safetensors files.")
    counts: dict[bool, int] = {}
    for file in part.glob("*.safetensors"):
        try:
            tensors = read_header(file).tensors
        except NotSafetensors as error:
            raise UserError(f"{file}: {error}.") from error
        is_variant = ".fp16" in file.name
        counts[is_variant] = counts.get(is_variant, 0) + sum(math.prod(one.shape) for one in tensors.values())
    return counts.get(False) or counts.get(True, 0)
