"""How much of each served adapter's file its model takes, for those who list the models."""

from collections.abc import Mapping

from graphs.adapters.fit import read_coverage
from graphs.adapters.updates import AdapterCoverage
from graphs.errors import AdapterMisfit
from graphs.families.model_facts import ModelFacts
from graphs.repository.repository import Repository


def read_coverages(repository: Repository, facts: Mapping[str, ModelFacts]) -> dict[str, AdapterCoverage]:
    """Return the coverage of every adapter by its alias, from the headers of the files.

    An adapter whose file does not fit any more is left out: the workers report it.
    """
    found: dict[str, AdapterCoverage] = {}
    for graph in repository.graphs.values():
        for adapter in graph.lora_adapters:
            try:
                found[adapter.alias] = read_coverage(adapter.path, graph.models_path, facts[graph.name].family)
            except AdapterMisfit:
                continue
    return found
