"""Changes a graph with options and adapters from the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from google.protobuf import text_format

from graphs.adapters.lora_source import FIELD, LoraSource
from graphs.adapters.sources import SourceLoras, mode_for
from graphs.definition.adapter_options import read_adapters, read_composites
from graphs.definition.calculator_graph import unpack_options
from graphs.definition.devices import uses_npu
from graphs.definition.graph import CompositeLoraAdapter, Graph, LoraMode
from graphs.definition.image_gen_calculator_pb2 import CalculatorGraphConfig, ImageGenCalculatorOptions
from graphs.definition.options import resolve_options
from graphs.definition.reader import read_graph
from graphs.definition.source_lines import Source, Step
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
    return _with_adapters_of(message, graph, mode)


def with_more_adapters(
    graph: Graph, sources: SourceLoras, files: Mapping[str, Path], written: Source
) -> tuple[Graph, list[str]]:
    """Return the graph with these adapters and composites beside its own, and a sentence for each that is changed.

    ``files`` is as for ``with_adapters``; ``written`` is the graph.pbtxt with the graph's own adapters. An alias that
    the graph has with the same file is the same adapter: an alpha that is given replaces its own. A composite of the
    same name is replaced. Raises GraphError, which names the line of an alias that means something else there.
    """
    _check_same_aliases(graph, sources, files, written)
    message = _parse(format_graph(graph))
    modes = [adapter.mode for adapter in graph.lora_adapters if adapter.mode is not LoraMode.FUSE]
    mode = modes[0] if modes else mode_for(graph.device)
    own = {entry.alias: entry for entry in message.lora_adapters}
    for adapter in sources.adapters:
        if adapter.alias not in own:
            _add_adapter(message, adapter, files[adapter.alias], mode)
        elif adapter.alpha is not None:
            own[adapter.alias].alpha = adapter.alpha
    again = {composite.alias for composite in sources.composites}
    kept = [entry for entry in message.composite_lora_adapters if entry.alias not in again]
    message.ClearField("composite_lora_adapters")
    message.composite_lora_adapters.extend(kept)
    _add_composites(message, sources)
    changed = _with_adapters_of(message, graph, mode)
    return changed, _changes(graph, changed)


def _check_same_aliases(graph: Graph, sources: SourceLoras, files: Mapping[str, Path], written: Source) -> None:
    """Raise GraphError for the first of the graph's aliases that means something else in these sources."""
    given = {alias: str(path) for alias, path in files.items()} | {c.alias: "a blend" for c in sources.composites}

    def refuse(alias: str, what: str, *at: Step) -> NoReturn:
        reason = (
            f"{alias!r} is {what}, and --source_loras gives this name to {given[alias]}; choose another alias, or "
            "remove this entry (`imagegen configure --source_loras` replaces all of them)."
        )
        raise written.option_error(reason, *at, "alias")

    for index, adapter in enumerate(graph.lora_adapters):
        if adapter.alias in given:
            if adapter.mode is LoraMode.FUSE:
                refuse(adapter.alias, "merged into the model (FUSE)", ("lora_adapters", index))
            if adapter.alias not in files or adapter.path.resolve() != files[adapter.alias].resolve():
                refuse(adapter.alias, str(adapter.path), ("lora_adapters", index))
    for index, composite in enumerate(graph.composite_lora_adapters):
        if composite.alias in files:
            refuse(composite.alias, "a blend", ("composite_lora_adapters", index))


def _changes(before: Graph, after: Graph) -> list[str]:
    """Return a sentence for each adapter and each composite of the first graph that is another one in the second."""
    strengths = {adapter.alias: adapter.alpha for adapter in after.lora_adapters}
    blends = {composite.alias: _blend(composite) for composite in after.composite_lora_adapters}
    of_adapters = [
        f"{adapter.alias} has the strength {strengths[adapter.alias]:g} now, and had {adapter.alpha:g}"
        for adapter in before.lora_adapters
        if strengths[adapter.alias] != adapter.alpha
    ]
    of_blends = [
        f"{composite.alias} is {blends[composite.alias]} now, and was {_blend(composite)}"
        for composite in before.composite_lora_adapters
        if blends[composite.alias] != _blend(composite)
    ]
    return of_adapters + of_blends


def _blend(composite: CompositeLoraAdapter) -> str:
    return "+".join(f"@{component.adapter_alias}:{component.alpha:g}" for component in composite.components)


def _with_adapters_of(message: ImageGenCalculatorOptions, graph: Graph, mode: LoraMode) -> Graph:
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

    Keys are fields of ImageGenCalculatorOptions, and ``num_streams``, which becomes NUM_STREAMS of plugin_config; an
    empty text removes a field. Without ``keep_adapters``, only FUSE adapters are kept. Raises GraphError for a file
    that cannot be read and for options that do not go together.
    """
    message = _options_of(path, name)
    if "resolution" in options and message.default_resolution == message.resolution:
        # It followed from the only resolution, and must follow from the new one.
        message.ClearField("default_resolution")
    for field, value in options.items():
        if field == "num_streams":
            continue
        if value == "":
            message.ClearField(field)
        else:
            setattr(message, field, value)
    if "num_streams" in options:
        message.plugin_config = _with_streams(message.plugin_config, options["num_streams"])
    if not keep_adapters:
        _replace_adapters(message, SourceLoras(()), {}, LoraMode.DYNAMIC)
    return resolve_options(message, Source(path), name=name, folder=path.parent, default_device="CPU")


def _with_streams(plugin_config: str, streams: str | int | float) -> str:
    """Return the device options with NUM_STREAMS; a text that is no JSON object stays, and is refused with its line."""
    try:
        options = json.loads(plugin_config or "{}")
    except ValueError:
        return plugin_config
    return json.dumps({**options, "NUM_STREAMS": streams}) if isinstance(options, dict) else plugin_config


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
        _add_adapter(message, adapter, files[adapter.alias], mode)
    _add_composites(message, sources)


def _add_adapter(message: ImageGenCalculatorOptions, adapter: LoraSource, file: Path, mode: LoraMode) -> None:
    entry = message.lora_adapters.add(alias=adapter.alias, path=str(file), mode=mode.value)
    if adapter.alpha is not None:
        entry.alpha = adapter.alpha


def _add_composites(message: ImageGenCalculatorOptions, sources: SourceLoras) -> None:
    for composite in sources.composites:
        blend = message.composite_lora_adapters.add(alias=composite.alias)
        for alias, alpha in composite.components:
            component = blend.components.add(adapter_alias=alias)
            if alpha is not None:
                component.alpha = alpha
