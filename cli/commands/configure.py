"""``imagegen configure``: writes the graph.pbtxt of a model and prints it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UserError
from cli.local.source_adapters import fetch_all, write_graph
from cli.options import SourceLoras, settings_from
from cli.terminal import say_lines
from graphs.adapters.sources import parse_source_loras
from graphs.repository.configuration import configured, with_adapters
from graphs.repository.servables import GRAPH_FILE, WHAT_IS_SERVABLE, servable_in

# As Model Server reads them.
_INT64 = 2**63 - 1
_UINT64 = 2**64 - 1
_Text = str | None
_Number = int | None
# Options that are no fields of ImageGenCalculatorOptions, and those with another name there.
_NOT_FIELDS = ("model_path", "source_loras")
_FIELD_NAMES = {"target_device": "device"}


def configure(
    ctx: typer.Context,
    model_path: Annotated[Path, typer.Option("--model_path", help="Folder of the model.")],
    source_loras: SourceLoras = None,
    target_device: Annotated[
        _Text, typer.Option("--target_device", help="One device, or three: text encoders, denoising, VAE.")
    ] = None,
    max_resolution: Annotated[_Text, typer.Option("--max_resolution", help="Largest image, as WxH.")] = None,
    default_resolution: Annotated[_Text, typer.Option("--default_resolution", help="Default size, as WxH.")] = None,
    resolution: Annotated[
        _Text, typer.Option("--resolution", help="Allowed sizes, as WxH WxH ...; a single one is compiled in.")
    ] = None,
    num_images_per_prompt: Annotated[
        _Number,
        typer.Option("--num_images_per_prompt", min=1, max=_INT64, help="Compiled in; with one resolution."),
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance_scale", help="Compiled in; with one resolution.")
    ] = None,
    max_num_images_per_prompt: Annotated[
        _Number,
        typer.Option("--max_num_images_per_prompt", min=1, max=_UINT64, help="Most images of one request."),
    ] = None,
    default_num_inference_steps: Annotated[
        _Number,
        typer.Option("--default_num_inference_steps", min=1, max=_UINT64, help="Default number of steps."),
    ] = None,
    max_num_inference_steps: Annotated[
        _Number, typer.Option("--max_num_inference_steps", min=1, max=_UINT64, help="Most steps of one request.")
    ] = None,
    plugin_config: Annotated[_Text, typer.Option("--plugin_config", help="Device options, as a JSON object.")] = None,
) -> None:
    """Write the graph.pbtxt of a model's folder and print it. Options not given stay as they are; '' removes one."""
    folder = model_path.expanduser().absolute()
    if servable_in(folder) is None:
        raise UserError(f"{model_path} cannot be configured; it must be {WHAT_IS_SERVABLE}.")
    sources = parse_source_loras(source_loras) if source_loras else None
    given = {
        _FIELD_NAMES.get(name, name): value
        for name, value in ctx.params.items()
        if value is not None and name not in _NOT_FIELDS
    }
    graph = configured(folder / GRAPH_FILE, folder.name, given, keep_adapters=source_loras is None)
    if sources is not None:
        downloads = settings_from({}).downloads
        graph = with_adapters(graph, sources, fetch_all(sources, folder, downloads))
    say_lines(write_graph(graph))
