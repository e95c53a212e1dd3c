"""``imagegen serve``: runs Redis, workers and the API on this machine."""

from typing import Annotated

import typer

from cli.errors import UserError
from cli.export.exporter import Exporter
from cli.local.api_address import close, listen
from cli.local.data_folder import locked_data_folder, require_shared_memory, require_temporary_folder
from cli.local.stop_signals import StopSignals
from cli.models.model_pull import is_pulled, pull
from cli.models.source_adapters import checked_sources, serve_adapters, serve_task_options
from cli.options import (
    ExtraQuantizationParams,
    OverwriteModels,
    SourceLoras,
    WeightFormat,
    repository_from,
    with_setting_options,
)
from cli.standard_streams import prepare_outputs
from cli.task_options import TaskOptions, with_task_options
from cli.terminal import say
from config.log_setup import check_log_file, configure_logging
from config.settings import Settings
from graphs.repository.adapter_folder import graph_of_folder

SourceModel = Annotated[
    str | None,
    typer.Option(
        "--source_model",
        help="A model at Hugging Face, org/name or org/name@revision: it is fetched unless it is there (in "
        "--model_repository_path, else in OVMS_MODEL_REPOSITORY_PATH, else in the data folder), converted if it is one "
        "of PyTorch, and served under the name org/name.",
    ),
]


@with_setting_options
@with_task_options
def serve(
    settings: Settings,
    task: TaskOptions,
    source_loras: SourceLoras = None,
    source_model: SourceModel = None,
    overwrite_models: OverwriteModels = False,
    weight_format: WeightFormat = None,
    extra_quantization_params: ExtraQuantizationParams = None,
) -> None:
    """Run everything: Redis, a worker for each graph, and the API. Without a model, the bundled one is served."""
    prepare_outputs(may_be_lost=True)  # a service goes on without those who read what it prints
    require_temporary_folder()
    require_shared_memory()
    check_log_file(settings.log)
    exporter = Exporter(settings, weight_format, extra_quantization_params)
    if source_model is None:
        repository = repository_from(settings)
        if exporter.given:
            say(f"{' and '.join(exporter.given)} changed nothing: they are for --source_model", err=True)
    close(listen(settings.http))
    with locked_data_folder(settings.data_dir) as lock:
        if source_model is not None and source_loras is not None and not is_pulled(settings, source_model):
            checked_sources(source_loras)
        if source_model is not None:  # before StopSignals, so that Ctrl-C ends a long download at once
            settings, task = _pulled(settings, source_model, task, exporter, overwrite=overwrite_models)
            repository = repository_from(settings)
        if task:
            settings = serve_task_options(settings, repository, task)
            repository = repository_from(settings)
        if source_loras is not None:
            settings = serve_adapters(settings, repository, source_loras)
            repository = repository_from(settings)
        if settings.lora_folder is not None:
            graph_of_folder(settings.lora_folder, repository)
        with StopSignals() as signals:
            # Imported here: it imports clients for Redis and HTTP, which the commands that it starts do not need.
            from cli.local.local_service import LocalService

            configure_logging(settings.log, quiet=("httpx2", "httpcore2"))
            for name, sentence in repository.failed.items():
                say(f"{name} cannot be served; the others are: {sentence}", err=True)
            LocalService(settings, repository, lock, signals).run()


def _pulled(
    settings: Settings, source_model: str, task: TaskOptions, exporter: Exporter, *, overwrite: bool
) -> tuple[Settings, TaskOptions]:
    """Return the settings that serve a fetched model, and the options that are not in its graph.pbtxt."""
    named = settings.repository
    if named.model_path is not None or named.config_path is not None:
        other = "--model_path" if named.model_path is not None else "--config_path"
        raise UserError(f"--source_model and {other} both say what is served; give one of them.")
    pulled = pull(settings, source_model, task, exporter, overwrite=overwrite)
    served = {"model_repository_path": None, "model_path": pulled.folder}
    name = named.model_name or pulled.graph.name
    repository = named.model_copy(update={**served, "model_name": name})
    return settings.model_copy(update={"repository": repository}), {} if pulled.is_new else task
