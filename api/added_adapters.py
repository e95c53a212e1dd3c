"""Which adapters can be added to the models that are served: their names are free, and their files fit."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from graphs.adapters.fit import fit_adapter
from graphs.definition.graph import Graph, LoraAdapter, LoraMode
from graphs.errors import InvalidRequest, RepositoryError
from graphs.families.family import Family
from graphs.repository.adapter_folder import takes_adapters
from graphs.repository.repository import Repository
from workers.jobs.adapter_registry import AddedAdapter

log = logging.getLogger(__name__)


def with_added(on_disk: Repository, added: Mapping[str, list[AddedAdapter]]) -> Repository:
    """Return the repository with the added adapters. One that a changed graph.pbtxt does not allow is left out."""
    allowed = {name: adapters for name, adapters in added.items() if takes_adapters(on_disk.graphs[name])}
    for name in added.keys() - allowed.keys():
        for adapter in added[name]:
            log.warning("the added adapter %r is left out: those of %r are compiled in", adapter.alias, name)
    try:
        return on_disk.with_adapters({name: [a.as_lora_adapter() for a in found] for name, found in allowed.items()})
    except RepositoryError:
        return _with_each(on_disk, allowed)


def check_free(repository: Repository, graph: Graph, alias: str) -> None:
    """Raise InvalidRequest (parameter ``alias``) if a model has the name already."""
    if alias == graph.name:
        raise InvalidRequest(f"The name {alias!r} is already taken by the model itself.", param="alias")
    taken = LoraAdapter(alias=alias, path=Path("/"), mode=LoraMode.DYNAMIC)
    try:
        repository.with_adapters({graph.name: [taken]})
    except RepositoryError as error:
        raise InvalidRequest(error.message, param="alias") from error


def checked_digest(path: Path, graph: Graph, family: Family) -> str:
    """Return the SHA-256 of an adapter's file that a worker can load.

    Raises AdapterMisfit, whose message is a clause, and OSError.
    """
    check_fit(path, graph, family)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_fit(path: Path, graph: Graph, family: Family) -> None:
    """Check that a worker can load the file. Raises AdapterMisfit."""
    at_construction = graph.is_compiled_at_construction(graph.device)
    fit_adapter(path, graph.models_path, family).check_loadable(at_construction=at_construction)


def _with_each(repository: Repository, added: Mapping[str, list[AddedAdapter]]) -> Repository:
    """Return the repository with every added adapter whose name is free."""
    for name, adapters in added.items():
        for adapter in adapters:
            try:
                repository = repository.with_adapters({name: [adapter.as_lora_adapter()]})
            except RepositoryError as error:
                log.warning("the added adapter %r is left out: %s", adapter.alias, error.message)
    return repository
