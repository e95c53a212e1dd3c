"""``imagegen validate``: prints what a folder or a graph.pbtxt defines, without serving it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.options import setting_option
from cli.terminal import say_lines
from config.printable import printable_json
from config.settings import RepositorySettings
from graphs.definition.reader import read_graph
from graphs.repository.repository import load_repository
from graphs.repository.servables import servable_in
from graphs.repository.served_facts import read_served_facts


def validate(
    path: Annotated[Path, typer.Argument(help="A folder, a graph.pbtxt or a config.json.")],
    target_device: Annotated[str | None, setting_option("target_device")] = None,
) -> None:
    """Check what PATH defines, and print the resolved options as JSON: of the one servable, or by name."""
    given = path.expanduser().absolute()
    if not given.exists():
        raise UserError(f"{path} does not exist.")
    options = _options(given, target_device or RepositorySettings().target_device)
    say_lines(printable_json(options))


def _options(path: Path, device: str) -> object:
    if path.is_file() and path.suffix != ".json":
        graph = read_graph(path, path.parent.name, default_device=device)
        read_served_facts(graph)
        return graph.options()
    if path.is_file():
        graphs = load_repository(config_path=path, default_device=device).graphs
    else:
        graphs = load_repository(model_repository_path=path, default_device=device).graphs
    for graph in graphs.values():
        read_served_facts(graph)
    if path.is_dir() and servable_in(path, path.name) is not None:
        return next(iter(graphs.values())).options()
    return {name: graph.options() for name, graph in graphs.items()}
