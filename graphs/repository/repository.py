"""The model repository: every graph that is served, and the route of each model name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from graphs.definition.graph import CompositeLoraAdapter, Graph, LoraAdapter, LoraMode
from graphs.definition.reader import graph_with_defaults, read_graph
from graphs.errors import InvalidRequest, ModelNotFound, RepositoryError
from graphs.repository.servables import WHAT_IS_SERVABLE, Servable, servable_in, servables_below, servables_in_config

_MOST_NAMES_LISTED = 10


@dataclass(frozen=True)
class Route:
    """The graph that a model name stands for, and its active adapters as pairs of alias and alpha."""

    graph: Graph
    model: str
    kind: Literal["base", "adapter", "composite"]
    adapters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Repository:
    """All graphs by name, in the order of their names."""

    graphs: dict[str, Graph]

    @property
    def base_graph(self) -> Graph | None:
        """The only graph, None if there are several."""
        return next(iter(self.graphs.values())) if len(self.graphs) == 1 else None

    def routes(self) -> list[Route]:
        """Return the routes of all model names: of each graph the base, its adapters and its composites."""
        return list(self._by_name.values())

    def route(self, model: str | None) -> Route:
        """Return the route of a model name, or of the only graph if there is no name.

        Raises InvalidRequest if a name is needed and ModelNotFound if it is unknown; both list the known names.
        """
        if not model:
            return self._only_route()
        if model in self._by_name:
            return self._by_name[model]
        raise ModelNotFound(f"{self._why_not(model)} Available: {self._names()}.", param="model")

    def with_adapters(self, added: Mapping[str, Sequence[LoraAdapter]]) -> "Repository":
        """Return the repository with more adapters, by graph name. Raises RepositoryError if an alias is taken."""
        graphs = dict(self.graphs)
        for name, adapters in added.items():
            own = graphs[name].lora_adapters
            graphs[name] = graphs[name].model_copy(update={"lora_adapters": (*own, *adapters)})
        _check_aliases(graphs.values())
        return Repository(graphs)

    def _only_route(self) -> Route:
        graph = self.base_graph
        if graph is not None and graph.name in self._by_name:
            return self._by_name[graph.name]
        if len(self._by_name) == 1:
            return next(iter(self._by_name.values()))
        raise InvalidRequest(f"model is required here; it is one of: {self._names()}.", param="model")

    def _why_not(self, model: str) -> str:
        if model in self.graphs:
            return f"The model {model!r} is compiled with its adapters and is served under their names only."
        for graph in self.graphs.values():
            for adapter in graph.lora_adapters:
                if adapter.alias == model and adapter.mode is LoraMode.FUSE:
                    return f"The adapter {model!r} is part of {graph.name!r} and always active."
                if adapter.alias == model:
                    return f"The adapter {model!r} is compiled into {graph.name!r}; name a composite instead."
        return f"The model {model[:100]!r} does not exist."

    def _names(self) -> str:
        names = list(self._by_name)
        more = f" and {len(names) - _MOST_NAMES_LISTED} more" if len(names) > _MOST_NAMES_LISTED else ""
        return ", ".join(names[:_MOST_NAMES_LISTED]) + more

    @cached_property
    def _by_name(self) -> dict[str, Route]:
        return {route.model: route for graph in self.graphs.values() for route in _routes(graph)}


def load_repository(
    *,
    model_repository_path: Path | None = None,
    config_path: Path | None = None,
    model_path: Path | None = None,
    model_name: str | None = None,
    default_device: str = "CPU",
) -> Repository:
    """Load every graph from exactly one source: a models directory, a config.json or one model's folder.

    ``model_name`` renames a single servable; ``default_device`` is used for graphs that name no device.
    Raises RepositoryError, or GraphError for a graph.pbtxt that cannot be used.
    """
    sources = [path for path in (model_repository_path, config_path, model_path) if path is not None]
    if len(sources) != 1:
        reason = f"{len(sources)} places to serve models from are given; give exactly one: "
        raise RepositoryError(reason + "a model repository path, a config path or a model path.")
    if config_path is not None:
        if model_name is not None:
            raise RepositoryError("A model name cannot be used together with a config path, which holds the names.")
        found = servables_in_config(config_path)
    elif model_path is not None:
        found = [_single(model_path, model_name)]
    else:
        found = _directory(sources[0], model_name)
    if not found:
        raise RepositoryError(f"{sources[0]}: There is nothing to serve here; a servable is {WHAT_IS_SERVABLE}.")
    return _repository(found, default_device)


def _single(folder: Path, name: str | None) -> Servable:
    found = servable_in(folder, name)
    if found is None:
        raise RepositoryError(f"{folder}: This is not servable; it must be {WHAT_IS_SERVABLE}.")
    return found


def _directory(root: Path, name: str | None) -> list[Servable]:
    """Return the root itself if it is a model, else the models below it."""
    itself = servable_in(root, name)
    if itself is not None:
        return [itself]
    found = servables_below(root)
    if name is None or not found:
        return found
    if len(found) > 1:
        raise RepositoryError(f"{root}: The model name {name!r} is for one model, and {len(found)} are here.")
    return [Servable(name, found[0].folder, found[0].graph_path)]


def _repository(found: list[Servable], default_device: str) -> Repository:
    by_name: dict[str, Servable] = {}
    for servable in found:
        _check_name(servable)
        other = by_name.setdefault(servable.name, servable)
        if other is not servable:
            reason = f"The name {servable.name!r} is given twice: for {other.folder} and {servable.folder}."
            raise RepositoryError(reason)
    graphs = {name: _load(by_name[name], default_device) for name in sorted(by_name)}
    _check_aliases(graphs.values())
    return Repository(graphs)


def _load(servable: Servable, default_device: str) -> Graph:
    if servable.graph_path is None:
        return graph_with_defaults(servable.folder, servable.name, default_device=default_device)
    return read_graph(servable.graph_path, servable.name, default_device=default_device)


def _check_name(servable: Servable) -> None:
    if not servable.name.isprintable() or any(part in ("", ".", "..") for part in servable.name.split("/")):
        reason = f"{servable.name!r} cannot be a model's name; use printable characters and no '..' or empty part."
        raise RepositoryError(f"{servable.folder}: {reason}")


def aliases_of(graph: Graph) -> list[str]:
    """Return the names of a graph's adapters and composites."""
    return [a.alias for a in graph.lora_adapters] + [c.alias for c in graph.composite_lora_adapters]


def _check_aliases(graphs: Iterable[Graph]) -> None:
    """Refuse an alias that occurs twice in the whole repository: clients send it as the model's name."""
    owners = {graph.name: graph for graph in graphs}
    for graph in list(owners.values()):
        for alias, uses in Counter(aliases_of(graph)).items():
            other = owners.setdefault(alias, graph)
            if other is not graph or alias == graph.name or uses > 1:
                reason = f"The adapter name {alias!r} of {graph.name!r} is already taken by {other.name!r}."
                raise RepositoryError(f"{graph.path}: {reason} Choose another alias.")


def _routes(graph: Graph) -> list[Route]:
    """Return the routes of a graph.

    STATIC adapters are always active: their graph has no base, and with several of them only composites have routes.
    FUSE adapters are part of the base.
    """
    static = sum(adapter.mode is LoraMode.STATIC for adapter in graph.lora_adapters)
    compiled = graph.compiled_alphas
    base = [] if static else [Route(graph, graph.name, "base")]
    adapters = [
        Route(graph, adapter.alias, "adapter", ((adapter.alias, compiled.get(adapter.alias, adapter.alpha)),))
        for adapter in graph.lora_adapters
        if adapter.mode is LoraMode.DYNAMIC or (adapter.mode is LoraMode.STATIC and static == 1)
    ]
    return base + adapters + [_composite(graph, entry) for entry in graph.composite_lora_adapters]


def _composite(graph: Graph, entry: CompositeLoraAdapter) -> Route:
    alphas = tuple((component.adapter_alias, graph.component_alpha(component)) for component in entry.components)
    return Route(graph, entry.alias, "composite", alphas)
