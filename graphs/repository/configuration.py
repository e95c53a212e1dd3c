"""Changes a graph with options and adapters from the command line."""

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from graphs.adapters.lora_source import FIELD
from graphs.adapters.sources import SourceLoras, mode_for
from graphs.definition.adapter_options import read_adapters, read_composites
from graphs.definition.calculator_graph import unpack_options
from graphs.definition.devices import uses_npu
from graphs.definition.graph import Graph, LoraMode
from graphs.definition.image_gen_calculator_pb2 import CalculatorGraphConfig, ImageGenCalculatorOptions
from graphs.definition.options import resolve_options
from graphs.definition.reader import read_graph
from graphs.definition.source_lines import Source
from graphs.definition.writer import format_graph
from graphs.errors import GraphError
from graphs.operator_files import is_file, read_text

_FUSE = ImageGenCalculatorOptions.LoraLoadMode.Value(LoraMode.FUSE)


def with_adapters(graph: Graph, sources: SourceLoras, files: Mapping[str, Path]) -> Graph:
    """Return the graph with these adapters and composites in place of its own: STATIC on the NPU, else DYNAMIC.

    ``files`` has the existing file of each adapter by alias. FUSE adapters are kept, since only a hand-written
    graph.pbtxt can have them. Raises GraphError (field ``source_loras``) if the graph could not be served.
    """
    message = _parse(format_graph(graph))
    mode = mode_for(graph.device)
    _replace_adapters(message, sources, files, mode)
    folder = graph.path.parent if graph.path else graph.models_path
    try:
        adapters = read_adapters(message, Source(), folder=folder, graph_name=graph.name, npu=mode is LoraMode.STATIC)
        composites = read_composites(message, Source(), adapters, graph_name=graph.name)
    except GraphError as error:
        raise GraphError(error.reason, field=FIELD) from None
    return graph.model_copy(update={"lora_adapters": adapters, "composite_lora_adapters": composites})


def check_worker_device(graph: Graph, device: str) -> None:
    """Raise GraphError where a graph cannot be served on a worker's own ``device``, by the rules for its own device."""
    refused = f"{graph.name!r} cannot be served on {device!r}."
    if uses_npu(device.split()) and any(adapter.mode is LoraMode.DYNAMIC for adapter in graph.lora_adapters):
        # Names of models follow from the graph's own device, on which the adapters are switched.
        reason = f"{refused} The NPU cannot switch adapters between requests; write mode: STATIC (or FUSE)."
        raise GraphError(reason, field="device")
    message = _parse(format_graph(graph))
    message.device = device
    folder = graph.path.parent if graph.path else graph.models_path
    try:
        resolve_options(message, Source(), name=graph.name, folder=folder, default_device=device)
    except GraphError as error:
        raise GraphError(f"{refused} {error}", field="device") from None


def configured(path: Path, name: str, options: Mapping[str, str | int | float], *, keep_adapters: bool = True) -> Graph:
    """Return the graph of a graph.pbtxt after these options are set; the file (absolute) need not exist yet.

    Keys are fields of ImageGenCalculatorOptions; an empty text removes a field. Without ``keep_adapters``, only FUSE
    adapters are kept. Raises GraphError for a file that cannot be read and for options that do not go together.
    """
    message = _options_of(path, name)
    if "resolution" in options and message.default_resolution == message.resolution:
        # It followed from the only resolution, and must follow from the new one.
        message.ClearField("default_resolution")
    for field, value in options.items():
        if value == "":
            message.ClearField(field)
        else:
            setattr(message, field, value)
    if not keep_adapters:
        _replace_adapters(message, SourceLoras(()), {}, LoraMode.DYNAMIC)
    return resolve_options(message, Source(path), name=name, folder=path.parent, default_device="CPU")


def _options_of(path: Path, name: str) -> ImageGenCalculatorOptions:
    if not is_file(path):
        return ImageGenCalculatorOptions(models_path="./")
    try:
        return _parse(read_text(path))
    except (ValueError, RecursionError, GraphError, text_format.ParseError):
        read_graph(path, name)  # raises the same with file, line and field
        raise


def _parse(text: str) -> ImageGenCalculatorOptions:
    return unpack_options(text_format.Parse(text, CalculatorGraphConfig()), Source())


def _replace_adapters(
    message: ImageGenCalculatorOptions, sources: SourceLoras, files: Mapping[str, Path], mode: LoraMode
) -> None:
    again = {adapter.alias for adapter in sources.adapters}
    fused = [entry for entry in message.lora_adapters if entry.mode == _FUSE and entry.alias not in again]
    message.ClearField("lora_adapters")
    message.ClearField("composite_lora_adapters")
    message.lora_adapters.extend(fused)
    for adapter in sources.adapters:
        entry = message.lora_adapters.add(alias=adapter.alias, path=str(files[adapter.alias]), mode=mode.value)
        if adapter.alpha is not None:
            entry.alpha = adapter.alpha
    for composite in sources.composites:
        blend = message.composite_lora_adapters.add(alias=composite.alias)
        for alias, alpha in composite.components:
            component = blend.components.add(adapter_alias=alias)
            if alpha is not None:
                component.alpha = alpha
