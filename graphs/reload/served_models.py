"""What is served at one moment: the models of a repository, with what was read of them from the disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from graphs.definition.graph import Graph
from graphs.families.model_facts import ModelFacts
from graphs.own_options.options_file import OPTIONS_FILE
from graphs.repository.bundled import load_served
from graphs.repository.config_file import folders_in_config
from graphs.repository.model_aliases import Aliases
from graphs.repository.own_options import Typed
from graphs.repository.repository import Repository
from graphs.repository.served_facts import read_served_facts, served_digest


@dataclass(frozen=True)
class Source:
    """Where models are served from, as the settings say it; ``load_served`` explains each."""

    model_repository_path: Path | None = None
    config_path: Path | None = None
    model_path: Path | None = None
    model_name: str | None = None
    target_device: str = "CPU"
    model_alias: str | None = None
    typed: Typed = field(default_factory=dict)

    def read(self) -> "ServedModels":
        """Read all models from the disk. Raises ConfigurationError if nothing can be served."""
        repository = load_served(
            model_repository_path=self.model_repository_path,
            config_path=self.config_path,
            model_path=self.model_path,
            model_name=self.model_name,
            target_device=self.target_device,
            model_alias=self.model_alias,
            typed=self.typed,
        )
        facts = {name: read_served_facts(graph) for name, graph in repository.graphs.items()}
        digests = {name: served_digest(repository, name) for name in repository.graphs}
        return ServedModels(repository, facts, digests)

    def places(self, graphs: Iterable[Graph]) -> list[Path]:
        """Return the files and folders to look at for changes; ``graphs`` are those that are served now.

        None for the bundled model, which is part of the installation.
        """
        found: list[Path] = []
        if self.config_path is not None:
            found += [self.config_path, self.config_path.parent / OPTIONS_FILE, *folders_in_config(self.config_path)]
        found += [path for path in (self.model_repository_path, self.model_path) if path is not None]
        if not found:
            return []
        for graph in graphs:
            beside = [graph.path, graph.path.parent / OPTIONS_FILE] if graph.path is not None else []
            found += [graph.models_path, *beside, *(adapter.path for adapter in graph.lora_adapters)]
        return [path.absolute() for path in found]


@dataclass(frozen=True)
class ServedModels:
    """The models of a repository, with the facts and the digest of each by the name of its graph.

    ``repository`` is as it is on disk. ``unread`` has the models whose files could not be used when they were read
    again, by name, with the sentence why (for operators: it names files): they are served as they were before, or not.
    """

    repository: Repository
    facts: Mapping[str, ModelFacts]
    digests: Mapping[str, str]
    unread: Mapping[str, str] = field(default_factory=dict)

    def digest(self, graph: str) -> str:
        """Return the digest of a graph's model; '' where it is not known, or the graph is not served."""
        return self.digests.get(graph, "")

    def has_same(self, other: "ServedModels", graph: str) -> bool:
        """Return whether a graph is the same there, down to what draws it."""
        own, others = (served.repository.graphs.get(graph) for served in (self, other))
        return own is not None and own == others and self.digest(graph) == other.digest(graph)

    def with_models_of(self, other: "ServedModels", names: Sequence[str]) -> "ServedModels":
        """Return these models with those of this name as they are there, without those that are not there.

        Their other names (aliases) come along. Raises RepositoryError where the names of adapters do not fit together.
        """
        own = self.repository
        theirs = other.repository
        graphs = {name: graph for name, graph in own.graphs.items() if name not in names}
        graphs |= {name: theirs.graphs[name] for name in names if name in theirs.graphs}
        taken = set(graphs) & set(names)
        options = {name: (theirs if name in taken else own).options_of(name) for name in graphs}
        repository = replace(
            own,
            graphs=dict(sorted(graphs.items())),
            failed={name: why for name, why in own.failed.items() if name not in graphs},
            options=options,
            aliases=_with_aliases(own.aliases, theirs, taken),
        ).with_adapters({})
        return ServedModels(
            repository,
            {name: (other if name in taken else self).facts[name] for name in graphs},
            {name: (other if name in taken else self).digest(name) for name in graphs},
            self.unread,
        )

    def after(self, former: "ServedModels") -> "ServedModels":
        """Return these models, as they follow on others: one that cannot be read now stays as it was.

        A model that was not there before and cannot be read changes nothing for requests that name no model or another.
        Raises RepositoryError where the names of adapters do not fit together then.
        """
        unread = self.repository.failed
        failed = {name: why for name, why in unread.items() if name in former.repository.failed}
        readable = replace(self, repository=replace(self.repository, failed=failed), unread=unread)
        return readable.with_models_of(former, [name for name in unread if name in former.repository.graphs])


def _with_aliases(own: Aliases, theirs: Repository, taken: Iterable[str]) -> Aliases:
    models = {route.model for route in theirs.routes() if route.graph.name in taken}
    known = {alias.name for alias in own}
    return (*own, *(alias for alias in theirs.aliases if alias.model in models and alias.name not in known))
