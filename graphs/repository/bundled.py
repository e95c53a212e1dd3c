"""The model that is bundled with the server; it is served if the settings name no other model."""

from pathlib import Path

from graphs.errors import RepositoryError
from graphs.repository.model_aliases import parse_aliases
from graphs.repository.own_options import Typed, with_own_options
from graphs.repository.repository import Repository, load_repository
from graphs.repository.served_facts import with_usable_models

BUNDLED_MODEL_NAME = "demo"


def bundled_model_path() -> Path:
    """Return the folder of the bundled demo model (absolute; it holds a graph.pbtxt)."""
    return Path(__file__).resolve().parents[1] / BUNDLED_MODEL_NAME


def load_served(
    *,
    model_repository_path: Path | None = None,
    config_path: Path | None = None,
    model_path: Path | None = None,
    model_name: str | None = None,
    target_device: str = "CPU",
    model_alias: str | None = None,
    typed: Typed | None = None,
) -> Repository:
    """Load the repository that these settings describe, or the bundled model if no path is given.

    ``typed`` are our own options that were given at the start, which win over those of imagegen.toml files.
    A graph whose model's files cannot be used is in ``failed``, as one that cannot be read is.
    Raises ConfigurationError if nothing can be served, and for a name without a model.
    """
    if model_repository_path is None and config_path is None and model_path is None:
        if model_name is not None:
            reason = "Nothing says which model has this name; give its folder with --model_path."
            raise RepositoryError(f"--model_name {model_name}: {reason}")
        model_path = bundled_model_path()
        model_name = BUNDLED_MODEL_NAME
    repository = load_repository(
        model_repository_path=model_repository_path,
        config_path=config_path,
        model_path=model_path,
        model_name=model_name,
        default_device=target_device,
    )
    root = options_root(model_repository_path=model_repository_path, config_path=config_path)
    return with_own_options(with_usable_models(repository), root, typed or {}, parse_aliases(model_alias))


def options_root(*, model_repository_path: Path | None, config_path: Path | None) -> Path | None:
    """Return the folder whose imagegen.toml is for all models, None where only one model is given by its folder."""
    return config_path.parent if config_path is not None else model_repository_path
