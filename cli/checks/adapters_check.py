"""``imagegen doctor``: how much of each adapter's file the model takes."""

from collections.abc import Iterator, Mapping

from cli.checks.finding import Finding, note, ok, wrong
from graphs.adapters.fit import fit_adapter
from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import read_model_facts

_AREA = "adapters"


def check_adapters(graphs: Mapping[str, Graph]) -> list[Finding]:
    """Match every adapter file of the graphs with its model, as a worker does before it loads them."""
    return [finding for graph in graphs.values() for finding in _of_graph(graph)]


def _of_graph(graph: Graph) -> Iterator[Finding]:
    for adapter in graph.lora_adapters:
        yield _finding(graph, adapter)


def _finding(graph: Graph, adapter: LoraAdapter) -> Finding:
    try:
        fit = fit_adapter(adapter.path, graph.models_path, read_model_facts(graph.models_path).family)
        if adapter.mode is LoraMode.FUSE and fit.needs_merge:
            fit.check_mergeable()
        else:
            fit.check_loadable(at_construction=graph.is_compiled_at_construction(graph.device))
    except AdapterMisfit as error:
        message = f"{adapter.alias} ({adapter.path}) does not fit {graph.name}: {error.message}."
        return wrong(_AREA, message, "Take it out of graph.pbtxt, or give the file that belongs to this model.")
    message = f"{adapter.alias}: {fit.coverage}."
    if fit.coverage.left_out is None:
        return ok(_AREA, message)
    return note(_AREA, message, f"The rest is left out: {fit.coverage.left_out}.")
