"""The facts of a graph's model, checked against the sizes that the graph promises."""

from graphs.definition.graph import Graph
from graphs.definition.model_digest import model_digest
from graphs.errors import ConfigurationError, RepositoryError
from graphs.families.model_facts import ModelFacts, read_model_facts
from graphs.repository.repository import Repository
from graphs.resolution import Resolution


def read_served_facts(graph: Graph) -> ModelFacts:
    """Return what requests for the graph's model must respect.

    Raises RepositoryError when a file of the model says nothing usable, and when the model cannot draw a size that the
    graph lists or has as its default.
    """
    facts = read_model_facts(graph.models_path)
    if graph.default_resolution is not None:
        _check(graph, "default_resolution", graph.default_resolution, facts)
    for size in graph.resolution:
        _check(graph, "resolution", size, facts)
    return facts


def served_digest(repository: Repository, name: str) -> str:
    """Return the digest of a graph's model, '' where it is not known on this machine (model_digest.py).

    ``repository`` is the one on disk, without adapters that were added while the service runs.
    """
    written = repository.options_of(name).written.model_dump(mode="json", exclude_defaults=True)
    return model_digest(repository.graphs[name], written)


def with_usable_models(repository: Repository) -> Repository:
    """Return the repository in which the graphs whose facts cannot be read have failed.

    Raises ConfigurationError if none is left.
    """
    failed: dict[str, ConfigurationError] = {}
    for name, graph in repository.graphs.items():
        try:
            read_served_facts(graph)
        except ConfigurationError as error:
            failed[name] = error
    return repository.without(failed)


def _check(graph: Graph, option: str, size: Resolution, facts: ModelFacts) -> None:
    multiple = facts.size_multiple
    if size.width % multiple or size.height % multiple:
        raise RepositoryError(
            f"{graph.path or graph.models_path}: {option} has {size}, which this model cannot draw: both sides must be "
            f"multiples of {multiple}. The nearest is {size.nearest(multiple)}."
        )
