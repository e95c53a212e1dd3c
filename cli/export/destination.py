"""What is exported, and where the result goes: beside its source, into a folder that is named, or among the models."""

from dataclasses import dataclass
from pathlib import Path

from cli.errors import UserError
from cli.export.single_file import is_single_file
from graphs.errors import ConfigurationError
from workers.sources.models.source import ModelSource, parse_model_source

_PATHS = ("/", "./", "../", "~", "\\")
_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".gguf", "/", "\\")


@dataclass(frozen=True)
class Destination:
    """The source of an export and the folder of its result.

    ``model`` is the source at Hugging Face, None where ``source`` is a path on this machine. ``name`` is what the
    result is served as; ``is_in_repository`` is true where it stands among the models.
    """

    source: Path
    model: ModelSource | None
    target: Path
    name: str
    is_in_repository: bool


def destination_of(
    text: str, models: Path, *, named: bool, output: Path | None, model_name: str | None, weight_format: str
) -> Destination:
    """Return what ``text`` names and where its result goes.

    ``models`` is the folder of models, and ``named`` whether the operator named it. Raises UserError for a text that
    names nothing, and for options that name two places.
    """
    if output is not None and model_name is not None:
        raise UserError("--output and --model_name both say where the result goes; give one of them.")
    source = Path(text).expanduser().absolute()
    model = _model_of(text)
    own_name = source.stem if is_single_file(source) else source.name
    name = model_name or (model.name if model is not None else own_name)
    if output is not None:
        target = output.expanduser().absolute()
        return Destination(source, model, target, model_name or target.name, is_in_repository=False)
    if model is not None or model_name is not None or named:
        return Destination(source, model, _below(models, name), name, is_in_repository=True)
    target = source.with_name(f"{own_name}-{weight_format}-ov")
    return Destination(source, None, target, target.name, is_in_repository=False)


def _model_of(text: str) -> ModelSource | None:
    """Return the model at Hugging Face that a text names, None for a path: one that is there, or is written as one."""
    if text.startswith(_PATHS) or text.lower().endswith(_FILES) or Path(text).exists():
        return None
    try:
        return parse_model_source(text)
    except ConfigurationError as error:
        raise UserError(f"there is no folder {Path(text).absolute()}, and {error.message}") from error


def _below(models: Path, name: str) -> Path:
    target = models.expanduser().absolute() / name
    if not target.resolve().is_relative_to(models.expanduser().resolve()) or not name.strip("/."):
        raise UserError(f"--model_name {name}: this must be the name of a folder below {models}.")
    return target
