"""The model repository: every graph that is served, and the route of each model name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from graphs.definition.graph import CompositeLoraAdapter, Graph, LoraAdapter, LoraMode
from graphs.definition.reader import graph_with_defaults, read_graph
from graphs.errors import ConfigurationError, InvalidRequest, ModelNotFound, RepositoryError, ServiceUnavailable
from graphs.own_options.schema import MergedOptions
from graphs.repository.config_file import servables_in_config
from graphs.repository.model_aliases import (
    Aliases,
    is_openai_model,
    listed_aliases,
    spellings,
    target_of,
)
from graphs.repository.servables import WHAT_IS_SERVABLE, Found, Servable, servable_in, servables_below

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
    """All graphs by name, in the order of their names, and why other models that were to be served are not.

    ``failed`` has the sentence of each such model by its name; it is for operators, since it names files. ``aliases``
    are the operator's other names of models, ``options`` our own options of the graphs by their names.
    """

    graphs: dict[str, Graph]
    failed: dict[str, str] = field(default_factory=dict)
    aliases: Aliases = ()
    options: Mapping[str, MergedOptions] = field(default_factory=dict)

    @property
    def base_graph(self) -> Graph | None:
        """The only graph, None if there are several, or would be if all could be served."""
        return next(iter(self.graphs.values())) if len(self.graphs) == 1 and not self.failed else None

    def routes(self) -> list[Route]:
        """Return the routes of all model names: of each graph the base, its adapters and its composites."""
        return list(self._by_name.values())

    def alias_routes(self) -> list[tuple[str, Route]]:
        """Return the aliases to list, each with its route; a model's own name is none, even if OpenAI has it too."""
        names = listed_aliases(self.aliases, with_openai=self._sole_route is not None)
        routes = [(name, self._of_alias(name)) for name in names if name not in self._by_name]
        return [(name, route) for name, route in routes if route is not None]

    def route(self, model: str | None) -> Route:
        """Return the route of a model name, or of the only graph if there is no name.

        A name that is unknown with a provider's prefix (``openai/demo``) is looked for without it. One of OpenAI's
        models means the only model, where only one base model is served.
        Raises InvalidRequest if a name is needed and ModelNotFound if it is unknown; both list the known names. Raises
        ServiceUnavailable for a model that was to be served and cannot be.
        """
        if not model:
            return self._only_route()
        for name in spellings(model):
            if name in self._by_name:
                return self._by_name[name]
            if name in self.failed:
                raise model_failed(name)
            if (route := self._of_alias(name)) is not None:
                return route
        raise ModelNotFound(f"{self._why_not(model)} Available: {self._names()}.{self._hint(model)}", param="model")

    def is_alias(self, model: str | None) -> bool:
        """Return whether a name that can be routed is no model's own name."""
        return bool(model) and not any(name in self._by_name for name in spellings(model or ""))

    def with_adapters(self, added: Mapping[str, Sequence[LoraAdapter]]) -> "Repository":
        """Return the repository with more adapters, by graph name. Raises RepositoryError if an alias is taken."""
        graphs = dict(self.graphs)
        for name, adapters in added.items():
            own = graphs[name].lora_adapters
            graphs[name] = graphs[name].model_copy(update={"lora_adapters": (*own, *adapters)})
        _check_aliases(graphs.values())
        return replace(self, graphs=graphs)

    def without(self, failed: Mapping[str, ConfigurationError]) -> "Repository":
        """Return the repository in which these graphs have failed. Raises ConfigurationError if none is left."""
        if not failed:
            return self
        left = {name: graph for name, graph in self.graphs.items() if name not in failed}
        sentences = {**self.failed, **{name: error.message for name, error in failed.items()}}
        if left:
            return replace(self, graphs=left, failed=dict(sorted(sentences.items())))
        if len(sentences) == 1:
            raise next(iter(failed.values()))
        raise RepositoryError(f"None of {len(sentences)} models can be served: {' '.join(sentences.values())}")

    def with_aliases(self, aliases: Aliases) -> "Repository":
        """Return the repository with other names of its models. Raises RepositoryError for one that means none."""
        models = [*self._by_name, *self.failed]
        for alias in aliases:
            alias.check(models)
        return replace(self, aliases=aliases)

    def options_of(self, graph: str) -> MergedOptions:
        """Return our own options of a graph."""
        return self.options.get(graph, MergedOptions())

    def _of_alias(self, name: str) -> Route | None:
        target = target_of(name, self.aliases)
        if target in self.failed:
            raise model_failed(name)
        if target is not None:
            return self._by_name.get(target)
        return self._sole_route if is_openai_model(name) else None

    @cached_property
    def _sole_route(self) -> Route | None:
        """The route of requests that name no model; None where several could be meant."""
        graph = self.base_graph
        if graph is not None and graph.name in self._by_name:
            return self._by_name[graph.name]
        return next(iter(self._by_name.values())) if len(self._by_name) == 1 and not self.failed else None

    def _only_route(self) -> Route:
        if self._sole_route is not None:
            return self._sole_route
        if not self._by_name and not self.failed:
            raise ModelNotFound("No model is served here: none is configured.", param="model")
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

    def _hint(self, model: str) -> str:
        sent = next((name for name in spellings(model) if is_openai_model(name)), None)
        return f" To let it mean one of them, start the server with --model_alias {sent[:100]}=MODEL." if sent else ""

    def _names(self) -> str:
        names = list(self._by_name)
        more = f" and {len(names) - _MOST_NAMES_LISTED} more" if len(names) > _MOST_NAMES_LISTED else ""
        return ", ".join(names[:_MOST_NAMES_LISTED]) + more

    @cached_property
    def _by_name(self) -> dict[str, Route]:
        return {route.model: route for graph in self.graphs.values() for route in _routes(graph)}


def model_failed(model: str) -> ServiceUnavailable:
    """Return the error for a request to a model that is configured and cannot be served; it tells no path."""
    reason = f"The model {model!r} cannot be served now; the administrators of this server can see why."
    return ServiceUnavailable(reason, code="model_failed")


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
    A model that cannot be read does not take the others down: it is in ``failed``. A config.json may list nothing.
    Raises RepositoryError, or GraphError for a graph.pbtxt that cannot be used, where there is no other model.
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
        found = Found([_single(model_path, model_name)], {})
    else:
        found = Found(_directory(sources[0], model_name), {})
    if not found.servables and config_path is None:
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


def _repository(found: Found, default_device: str) -> Repository:
    by_name: dict[str, Servable] = {}
    for servable in found.servables:
        _check_name(servable)
        other = by_name.setdefault(servable.name, servable)
        if other is not servable:
            reason = f"The name {servable.name!r} is given twice: for {other.folder} and {servable.folder}."
            raise RepositoryError(reason)
    graphs: dict[str, Graph] = {}
    failed = dict(found.failed)
    for name in sorted(by_name):
        try:
            graphs[name] = _load(by_name[name], default_device)
        except ConfigurationError as error:
            failed[name] = error
    return Repository(graphs).without(failed | _taken_aliases(graphs.values()))


def _load(servable: Servable, default_device: str) -> Graph:
    if servable.graph_path is None:
        return graph_with_defaults(servable.folder, servable.name, default_device=default_device)
    path = servable.graph_path
    return read_graph(path, servable.name, default_device=default_device, folder=servable.folder)


def _check_name(servable: Servable) -> None:
    if not servable.name.isprintable() or any(part in ("", ".", "..") for part in servable.name.split("/")):
        reason = f"{servable.name!r} cannot be a model's name; use printable characters and no '..' or empty part."
        raise RepositoryError(f"{servable.folder}: {reason}")


def aliases_of(graph: Graph) -> list[str]:
    """Return the names of a graph's adapters and composites."""
    return [a.alias for a in graph.lora_adapters] + [c.alias for c in graph.composite_lora_adapters]


def _check_aliases(graphs: Iterable[Graph]) -> None:
    """Refuse an alias that occurs twice in the whole repository: clients send it as the model's name."""
    for error in _taken_aliases(graphs).values():
        raise error


def _taken_aliases(graphs: Iterable[Graph]) -> dict[str, ConfigurationError]:
    """Return the error of each graph with an alias that is another graph's name, or an alias of one before it."""
    owners = {graph.name: graph for graph in graphs}
    found: dict[str, ConfigurationError] = {}
    for graph in list(owners.values()):
        for alias, uses in Counter(aliases_of(graph)).items():
            other = owners.setdefault(alias, graph)
            if other is not graph or alias == graph.name or uses > 1:
                reason = f"The adapter name {alias!r} of {graph.name!r} is already taken by {other.name!r}."
                found.setdefault(graph.name, RepositoryError(f"{graph.path}: {reason} Choose another alias."))
    return found


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
