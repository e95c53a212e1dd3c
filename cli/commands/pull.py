"""``imagegen pull``: fetches a model from Hugging Face and makes it ready to be served."""

from shlex import quote
from typing import Annotated

import typer

from cli.errors import UserError
from cli.export.exporter import Exporter
from cli.models.model_pull import pull as pull_model
from cli.models.source_adapters import checked_sources, fetch_all, write_graph
from cli.options import (
    ExtraQuantizationParams,
    OverwriteModels,
    SourceLoras,
    WeightFormat,
    with_setting_options,
)
from cli.task_options import TaskOptions, with_task_options
from cli.terminal import say
from config.settings import Settings
from graphs.repository.configuration import configured, with_adapters
from graphs.repository.servables import GRAPH_FILE

Model = Annotated[str, typer.Argument(help="The model at Hugging Face: org/name, or org/name@revision.")]


@with_setting_options
@with_task_options
def pull(
    settings: Settings,
    task: TaskOptions,
    model: Model,
    source_loras: SourceLoras = None,
    overwrite_models: OverwriteModels = False,
    weight_format: WeightFormat = None,
    extra_quantization_params: ExtraQuantizationParams = None,
) -> None:
    """Fetch a model from Hugging Face and write its graph.pbtxt. A model of PyTorch is converted, as by `export`.

    What was fetched before is taken, a download that broke off goes on, and a model that is there is left as it is.
    """
    exporter = Exporter(settings, weight_format, extra_quantization_params)
    sources = checked_sources(source_loras) if source_loras else None
    pulled = pull_model(settings, model, task, exporter, overwrite=overwrite_models)
    if not pulled.is_new and configured(pulled.folder / GRAPH_FILE, pulled.graph.name, task) != pulled.graph:
        options = ", ".join(f"--{name}" for name in task)
        raise UserError(
            f"{pulled.folder} has a graph.pbtxt, which stays as it is, so {options} cannot be set: `imagegen configure "
            f"--model_path {pulled.folder}` changes it, and --overwrite_models replaces the whole folder."
        )
    if sources is not None:
        files = fetch_all(sources, pulled.folder, settings.downloads)
        write_graph(with_adapters(pulled.graph, sources, files))
    named = settings.repository.model_repository_path
    where = f" --model_repository_path {quote(str(named))}" if named is not None else ""
    say(f"serve it: imagegen serve --source_model {model}{where}")
