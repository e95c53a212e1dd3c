"""Our own options of the models of a repository: what imagegen.toml files and the settings say of them, put together.

What was typed at the start wins, then the file of the model, then that of the repository.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError
from graphs.own_options.options_file import OptionsFile, options_file_in, read_options_file
from graphs.own_options.schema import MergedOptions, ModelOptions
from graphs.repository.model_aliases import Alias, Aliases
from graphs.repository.repository import Repository

Typed = Mapping[str, tuple[Any, str]]
"""Options that were typed at the start: the value of each, and the place that says it, such as a variable."""


def with_own_options(repository: Repository, root: Path | None, typed: Typed, aliases: Aliases) -> Repository:
    """Return the repository with the options of its models and all aliases.

    ``root`` is the folder of the file for all models, None where only one model was given by its own folder;
    ``aliases`` are those that were typed. A model whose file cannot be used has failed. Raises RepositoryError for a
    wrong file in ``root`` and for wrong aliases, and ConfigurationError if no model is left.
    """
    of_all = _read(options_file_in(root)) if root is not None else None
    taken = {name: name for name in (*(route.model for route in repository.routes()), *repository.failed)}
    options: dict[str, MergedOptions] = {}
    own_aliases: list[Alias] = []
    failed: dict[str, ConfigurationError] = {}
    files: dict[str, OptionsFile | None] = {}
    for name, graph in repository.graphs.items():
        try:
            files[name] = own = _read(_file_of(graph))
            options[name] = _merged(graph, typed, own, of_all)
            found = _aliases_of(repository, graph, own) if own is not None else []
            _check(found, taken, name)
        except ConfigurationError as error:
            failed[name] = error
            continue
        own_aliases += found
        taken |= dict.fromkeys((alias.name for alias in found), name)
    of_repository = _table(of_all) if of_all is not None else []
    if of_all is not None and of_all.options.aliases and of_all.path not in _paths(files.values()):
        reason = 'This file is for all models; write the names as a table, [model_aliases] with NAME = "MODEL".'
        raise of_all.error(reason, "aliases")
    merged = _first_of_each_name([*aliases, *own_aliases, *of_repository])
    return replace(repository.without(failed), options=options).with_aliases(merged)


def _read(path: Path | None) -> OptionsFile | None:
    return None if path is None else read_options_file(path)


def _file_of(graph: Graph) -> Path | None:
    """Return the file of a model: beside its graph.pbtxt, or else in the folder of its files."""
    beside = options_file_in(graph.path.parent) if graph.path is not None else None
    return beside or options_file_in(graph.models_path)


def _paths(files: Iterable[OptionsFile | None]) -> set[Path]:
    return {file.path for file in files if file is not None}


def _merged(graph: Graph, typed: Typed, own: OptionsFile | None, of_all: OptionsFile | None) -> MergedOptions:
    """Return the options of a graph. Raises RepositoryError for one that its graph.pbtxt does not allow."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    written: dict[str, Any] = {}
    for key in ModelOptions.model_fields:
        for file in (of_all, own):
            if file is not None and key in file.options.model_fields_set:
                value = getattr(file.options, key)
                if (reason := _refusal(graph, key, value)) is None:
                    values[key] = written[key] = value
                    origins[key] = file.place(key)
                elif file is own:
                    raise file.error(reason, key)
        if key in typed:
            values[key], origins[key] = typed[key]
    return MergedOptions(ModelOptions(**values), origins, ModelOptions(**written))


def _refusal(graph: Graph, key: str, value: Any) -> str | None:
    """Return why a graph cannot have an option's value, None if it can."""
    if key != "default_guidance_scale" or not graph.is_static:
        return None
    if graph.guidance_scale is not None and value != graph.guidance_scale:
        return f"The graph.pbtxt of this model compiles guidance_scale {graph.guidance_scale:g} in; remove this one."
    if graph.guidance_scale is None and value <= 1:
        return f"It must be above 1, not {value:g}: this model has one resolution and is compiled with guidance."
    return None


def _aliases_of(repository: Repository, graph: Graph, file: OptionsFile) -> list[Alias]:
    """Return the aliases of a model's file. Raises RepositoryError."""
    models = [route.model for route in repository.routes() if route.graph.name == graph.name]
    target = graph.name if graph.name in models or len(models) != 1 else models[0]
    names = [Alias(name, target, file.place("aliases")) for name in file.options.aliases]
    found = names + _table(file)
    for alias in found:
        alias.check(models)
    return found


def _table(file: OptionsFile) -> list[Alias]:
    table = file.options.model_aliases
    return [Alias(name, model, file.place("model_aliases", name)) for name, model in table.items()]


def _check(found: Sequence[Alias], taken: Mapping[str, str], graph: str) -> None:
    """Check that no name is there twice, in this file or in those of other models. Raises RepositoryError."""
    for number, alias in enumerate(found):
        if alias.name in [other.name for other in found[:number]]:
            raise alias.error("is given twice.")
        if alias.name in taken and taken[alias.name] != graph:
            raise alias.error(f"is taken by {taken[alias.name]!r}; choose another name.")


def _first_of_each_name(aliases: Iterable[Alias]) -> Aliases:
    found: dict[str, Alias] = {}
    for alias in aliases:
        found.setdefault(alias.name, alias)
    return tuple(found.values())
