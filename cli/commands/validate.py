"""``imagegen validate``: prints what a folder or a graph.pbtxt defines, without serving it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.options import setting_option, settings_from
from cli.terminal import say, say_lines
from config.environment import typed_model_options
from config.printable import printable_json
from graphs.definition.reader import read_graph
from graphs.own_options.options_file import OPTIONS_FILE
from graphs.own_options.schema import ModelOptions
from graphs.repository.bundled import load_served
from graphs.repository.model_aliases import parse_aliases
from graphs.repository.model_files import check_loadable, with_loadable_models
from graphs.repository.own_options import Typed, with_own_options
from graphs.repository.repository import Repository
from graphs.repository.servables import servable_in


def validate(
    path: Annotated[Path, typer.Argument(help="A folder, a graph.pbtxt, an imagegen.toml or a config.json.")],
    target_device: Annotated[str | None, setting_option("target_device")] = None,
    model_alias: Annotated[str | None, setting_option("model_alias")] = None,
) -> None:
    """Check what PATH defines, and print the resolved options as JSON: of the one servable, or by name.

    Those of imagegen.toml are printed with the place that each comes from. A model that cannot be served is named on
    standard error, and the exit code is 2.
    """
    given = path.expanduser().absolute()
    if not given.exists():
        raise UserError(f"{path} does not exist.")
    settings = settings_from({"target_device": target_device, "model_alias": model_alias})
    typed = typed_model_options(settings)
    device = settings.repository.target_device
    aliases = settings.repository.model_alias
    if given.is_file() and given.suffix not in (".json", ".toml"):
        graph = read_graph(given, given.parent.name, default_device=device)
        check_loadable(graph)
        found = with_own_options(Repository({graph.name: graph}), None, typed, parse_aliases(aliases))
        say_lines(printable_json(_options(found, graph.name)))
        return
    repository = _repository(given, device, aliases, typed)
    say_lines(printable_json(_printed(given, repository)))
    for name, sentence in repository.failed.items():
        say(f"{name} cannot be served: {sentence}", err=True)
    if repository.failed:
        raise typer.Exit(2)


def _repository(path: Path, device: str, aliases: str | None, typed: Typed) -> Repository:
    is_config = path.suffix == ".json" and path.is_file()
    folder = path.parent if path.name == OPTIONS_FILE else path
    served = load_served(
        config_path=path if is_config else None,
        model_repository_path=None if is_config else folder,
        target_device=device,
        model_alias=aliases,
        typed=typed,
    )
    return with_loadable_models(served)


def _printed(path: Path, repository: Repository) -> object:
    if path.is_dir() and servable_in(path, path.name) is not None:
        return _options(repository, next(iter(repository.graphs)))
    return {name: _options(repository, name) for name in repository.graphs}


def _options(repository: Repository, name: str) -> dict[str, object]:
    """Return the options of a graph.pbtxt, and below ``imagegen.toml`` our own with the place of each."""
    merged = repository.options_of(name)
    own: dict[str, object] = {
        key: {"value": getattr(merged.values, key), "from": merged.origin(key)} for key in ModelOptions.model_fields
    }
    models = {route.model for route in repository.routes() if route.graph.name == name}
    own["aliases"] = [
        {"name": alias.name, "model": alias.model, "from": alias.place}
        for alias in repository.aliases
        if alias.model in models
    ]
    return {**repository.graphs[name].options(), OPTIONS_FILE: own}
