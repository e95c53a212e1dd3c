"""``imagegen configure``: writes the graph.pbtxt of a model and prints it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.models.source_adapters import fetch_all, write_graph
from cli.options import SourceLoras, settings_from
from cli.task_options import TaskOptions, with_task_options
from cli.terminal import say_lines
from graphs.adapters.sources import parse_source_loras
from graphs.repository.configuration import configured, with_adapters
from graphs.repository.servables import GRAPH_FILE, WHAT_IS_SERVABLE, servable_in

_Text = str | None


@with_task_options
def configure(
    task: TaskOptions,
    model_path: Annotated[Path, typer.Option("--model_path", help="Folder of the model.")],
    source_loras: SourceLoras = None,
    target_device: Annotated[
        _Text, typer.Option("--target_device", help="One device, or three: text encoders, denoising, VAE.")
    ] = None,
) -> None:
    """Write the graph.pbtxt of a model's folder and print it. Options not given stay as they are; '' removes one."""
    folder = model_path.expanduser().absolute()
    if servable_in(folder) is None:
        raise UserError(f"{model_path} cannot be configured; it must be {WHAT_IS_SERVABLE}.")
    sources = parse_source_loras(source_loras) if source_loras else None
    given = {**task, **({"device": target_device} if target_device is not None else {})}
    graph = configured(folder / GRAPH_FILE, folder.name, given, keep_adapters=source_loras is None)
    if sources is not None:
        downloads = settings_from({}).downloads
        graph = with_adapters(graph, sources, fetch_all(sources, folder, downloads))
    say_lines(write_graph(graph))
