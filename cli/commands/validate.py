"""``imagegen validate``: prints what a folder or a graph.pbtxt defines, without serving it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.options import setting_option
from cli.terminal import say, say_lines
from config.printable import printable_json
from config.settings import RepositorySettings
from graphs.definition.reader import read_graph
from graphs.repository.model_files import check_loadable, with_loadable_models
from graphs.repository.repository import Repository, load_repository
from graphs.repository.servables import servable_in


def validate(
    path: Annotated[Path, typer.Argument(help="A folder, a graph.pbtxt or a config.json.")],
    target_device: Annotated[str | None, setting_option("target_device")] = None,
) -> None:
    """Check what PATH defines, and print the resolved options as JSON: of the one servable, or by name.

    A model that cannot be served is named on standard error, and the exit code is 2.
    """
    given = path.expanduser().absolute()
    if not given.exists():
        raise UserError(f"{path} does not exist.")
    device = target_device or RepositorySettings().target_device
    if given.is_file() and given.suffix != ".json":
        graph = read_graph(given, given.parent.name, default_device=device)
        check_loadable(graph)
        say_lines(printable_json(graph.options()))
        return
    repository = _repository(given, device)
    say_lines(printable_json(_options(given, repository)))
    for name, sentence in repository.failed.items():
        say(f"{name} cannot be served: {sentence}", err=True)
    if repository.failed:
        raise typer.Exit(2)


def _repository(path: Path, device: str) -> Repository:
    if path.is_file():
        return with_loadable_models(load_repository(config_path=path, default_device=device))
    return with_loadable_models(load_repository(model_repository_path=path, default_device=device))


def _options(path: Path, repository: Repository) -> object:
    graphs = repository.graphs
    if path.is_dir() and servable_in(path, path.name) is not None:
        return next(iter(graphs.values())).options()
    return {name: graph.options() for name, graph in graphs.items()}
