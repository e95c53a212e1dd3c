"""``imagegen models``: lists models on this machine, and adds and removes entries of a config.json."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.models.config_json import add_entry, config_file, remove_entry
from cli.models.model_pull import models_folder
from cli.options import settings_from
from cli.terminal import say
from graphs.repository.config_file import servables_in_config
from graphs.repository.servables import servable_in, servables_below

models = typer.Typer(
    name="models",
    help="List models on this machine, and change what a config.json serves.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The name under which requests ask for the model.")]
Config = Annotated[Path, typer.Option("--config_path", help="The config.json, or the folder that holds it.")]
Repository = Annotated[
    Path | None,
    typer.Option(
        "--model_repository_path",
        help="Folder of models; if not given, that of `imagegen pull`.",
    ),
]


@models.command("list")
def list_models(
    model_repository_path: Repository = None,
    config_path: Annotated[Path | None, typer.Option("--config_path", help="A config.json to list instead.")] = None,
) -> None:
    """Print the names of the models in a folder, or in a config.json, a line each."""
    if config_path is not None and model_repository_path is not None:
        raise UserError("--config_path and --model_repository_path both say what is listed; give one of them.")
    if config_path is not None:
        found = servables_in_config(config_file(config_path)).servables
    else:
        found = servables_below(_folder(model_repository_path))
    for servable in found:
        say(servable.name)


@models.command()
def add(
    name: Name,
    config_path: Config,
    model_path: Annotated[
        Path | None,
        typer.Option(
            "--model_path",
            help="Folder of the model, from the folder of the config.json, else from the current one; if not given, "
            "NAME in the folder of models.",
        ),
    ] = None,
    model_repository_path: Repository = None,
) -> None:
    """Add a model to a config.json, which is made if it is not there. Other entries stay as they are."""
    file = config_file(config_path)
    folder = _model_folder(model_path, file) if model_path is not None else _folder(model_repository_path) / name
    is_new = add_entry(file, name, folder)
    say(f"{name} is {'added to' if is_new else 'in'} {file}")


@models.command()
def remove(name: Name, config_path: Config) -> None:
    """Remove a model from a config.json. Its files and the other entries stay as they are."""
    file = config_file(config_path)
    remove_entry(file, name)
    say(f"{name} is removed from {file}")


def _model_folder(given: Path, file: Path) -> Path:
    """Return the folder that a path means. In Model Server it begins where the config.json is."""
    there = file.parent / given.expanduser()
    here = given.expanduser().absolute()
    return here if servable_in(there) is None and servable_in(here) is not None else there


def _folder(given: Path | None) -> Path:
    """Return the folder of models: the given one, else that of ``imagegen pull``."""
    if given is not None:
        return given.expanduser().absolute()
    return models_folder(settings_from({}))
