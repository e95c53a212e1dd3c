"""``imagegen export``: converts a model of PyTorch into OpenVINO form, and proves that it means the same."""

import json
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from cli.errors import UserError
from cli.export.destination import Destination, destination_of
from cli.export.exporter import Exporter
from cli.export.single_file import is_single_file, read_single_file
from cli.export.source import ExportSource, read_source
from cli.models.config_json import add_entry, config_file
from cli.models.model_pull import PullProgress, check_options, models_folder, write_new_graph
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
from graphs.repository.configuration import with_adapters
from graphs.repository.servables import GRAPH_FILE, MODEL_INDEX

# A folder without a graph.pbtxt is served on it.
_DEVICE_WITHOUT_GRAPH = "CPU"

Source = Annotated[
    str | None,
    typer.Argument(
        help="The model: a folder in diffusers form, with .safetensors files; one .safetensors file of SD 1, SD 2 or "
        "SDXL; or org/name or org/name@revision at Hugging Face. A folder of that name wins."
    ),
]
SourceModel = Annotated[str | None, typer.Option("--source_model", help="The same as SOURCE.")]
GroupSize = Annotated[
    int | None,
    typer.Option("--group-size", "--group_size", help="Weights that share a scale, with int4; without it, 64."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder of the result. Without it, a folder becomes SOURCE-FORMAT-ov beside it, and a model of Hugging "
        "Face org/name in the folder of models; see --model_repository_path and --model_name.",
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model_name", help="Folder of the result in the folder of models, and its served name.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config_file_path", help="The config.json to which the model is added.")
]
CacheDir = Annotated[
    str | None, typer.Option("--ov_cache_dir", help="Folder for the compiled model: CACHE_DIR of the device options.")
]
PredictionType = Annotated[
    Literal["epsilon", "v_prediction"] | None,
    typer.Option(
        "--prediction-type",
        "--prediction_type",
        help="What a single file's denoiser predicts; without it, what the file says, else epsilon.",
    ),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option("--memory_limit_gib", min=0.1, help="Memory that the conversion may take; without it, nine tenths."),
]


@with_setting_options
@with_task_options
def export(
    settings: Settings,
    task: TaskOptions,
    source: Source = None,
    source_model: SourceModel = None,
    weight_format: WeightFormat = None,
    extra_quantization_params: ExtraQuantizationParams = None,
    group_size: GroupSize = None,
    output: Output = None,
    prediction_type: PredictionType = None,
    result_name: ModelName = None,
    config_file_path: ConfigFile = None,
    source_loras: SourceLoras = None,
    ov_cache_dir: CacheDir = None,
    memory_limit_gib: MemoryLimit = None,
    overwrite_models: OverwriteModels = False,
) -> None:
    """Convert a model of PyTorch into OpenVINO form.

    Before the result appears, each part is compared with PyTorch on the same input, and the model draws a picture. A
    conversion that was interrupted goes on after the last finished part. In the folder of models it gets a graph.pbtxt,
    with the options of a graph that are given.
    """
    exporter = Exporter(
        settings,
        weight_format,
        extra_quantization_params,
        group_size=group_size,
        memory_limit_gib=memory_limit_gib,
    )
    place = destination_of(
        _given_source(source, source_model),
        models_folder(settings),
        named=settings.repository.model_repository_path is not None,
        output=output,
        model_name=result_name,
        weight_format=exporter.compression.weight_format,
    )
    given = _with_cache_folder(task, ov_cache_dir)
    check_options(place.name, given)
    sources = checked_sources(source_loras) if source_loras else None
    if (place.target / MODEL_INDEX).exists() and not overwrite_models:
        raise UserError(f"{place.target} is there already; --overwrite_models makes it anew.")
    _convert(settings, exporter, place, prediction_type, overwrite=overwrite_models)
    device = {"device": settings.repository.target_device}
    if place.is_in_repository or given or sources is not None or device["device"] != _DEVICE_WITHOUT_GRAPH:
        graph = write_new_graph(place.target / GRAPH_FILE, place.name, {**device, **given})
        if sources is not None:
            files = fetch_all(sources, place.target, settings.downloads)
            write_graph(with_adapters(graph, sources, files))
    if config_file_path is not None:
        file = config_file(config_file_path)
        is_new = add_entry(file, place.name, place.target)
        say(f"{place.name} is {'added to' if is_new else 'in'} {file}", err=True)
    say(f"serve it: imagegen serve --model_path {quote(str(place.target))}{_served_name(place)}")


def _given_source(source: str | None, source_model: str | None) -> str:
    given = {text for text in (source, source_model) if text is not None}
    if len(given) != 1:
        what = "two sources are given" if given else "nothing says which model is converted"
        raise UserError(f"{what}; give one, as `imagegen export SOURCE`.")
    return given.pop()


def _with_cache_folder(task: TaskOptions, ov_cache_dir: str | None) -> TaskOptions:
    if ov_cache_dir is None:
        return task
    try:
        options = json.loads(str(task.get("plugin_config", "{}")))
    except ValueError:
        return task  # it is refused with its place
    if not isinstance(options, dict):
        return task
    return {**task, "plugin_config": json.dumps({**options, "CACHE_DIR": ov_cache_dir})}


def _convert(
    settings: Settings, exporter: Exporter, place: Destination, prediction_type: str | None, *, overwrite: bool
) -> None:
    if prediction_type is not None and not (place.model is None and is_single_file(place.source)):
        raise UserError("--prediction_type is for a single file; a folder's scheduler_config.json has it.")
    if place.model is None:
        found = _read(place.source, prediction_type)
        exporter.export(found, place.target, model=place.source.name, overwrite=overwrite)
        return
    # Imported here: it imports huggingface_hub, which slows down the start of other commands.
    from workers.sources.models.pull import pull_and_convert

    with PullProgress(place.model.name) as view:
        pull_and_convert(place.model, models_folder(settings), place.target, settings.downloads, view, exporter)


def _read(source: Path, prediction_type: str | None) -> ExportSource:
    if not is_single_file(source):
        return read_source(source)
    found, sentence = read_single_file(source, prediction_type)
    say(sentence, err=True)
    return found


def _served_name(place: Destination) -> str:
    return f" --model_name {quote(place.name)}" if place.name != place.target.name else ""
