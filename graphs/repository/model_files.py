"""What a worker needs of a model beyond its facts: classes, a scheduler, files and shapes that GenAI can draw with.

What the runtime accepts was measured with GenAI 2026.4; ``tests/workers/engine/test_damaged_models.py`` holds the
verdict about damaged models against the runtime's own.
"""

from collections.abc import Iterator
from pathlib import Path

from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError, RepositoryError
from graphs.families.family import Family
from graphs.families.model_facts import read_json_file
from graphs.operator_files import is_file
from graphs.repository.network_file import NetworkFile, read_network
from graphs.repository.network_shapes import check_shapes
from graphs.repository.repository import Repository
from graphs.repository.scheduler_config import check_scheduler
from graphs.repository.served_facts import read_served_facts

_NETWORK = "openvino_model.xml"
_TOKENIZER = "openvino_tokenizer.xml"


def check_loadable(graph: Graph) -> None:
    """Check what a worker reads of a graph's model. Raises RepositoryError.

    The API needs none of these files, so it does not ask: they may be on the workers' machines only.
    """
    facts = read_served_facts(graph)
    models_path = graph.models_path
    parts = list(_parts(models_path, facts.family))
    check_scheduler(models_path, facts)
    _check_files(models_path, parts)
    networks = {part: read_network(models_path / part / _NETWORK) for part in parts}
    for encoder in _text_encoders(models_path, parts):
        _check_tokenizer(read_network(models_path / encoder.replace("text_encoder", "tokenizer") / _TOKENIZER))
    if (encoder_of_images := _vae_encoder(models_path)) is not None:
        networks["vae_encoder"] = encoder_of_images
    configs = {part: read_json_file(models_path / part / "config.json") for part in parts}
    _check_scaling(models_path, configs["vae_decoder"].get("scaling_factor"))
    check_shapes(graph, facts.family, networks, configs)


def with_loadable_models(repository: Repository) -> Repository:
    """Return the repository in which the graphs that ``check_loadable`` refuses have failed.

    Raises ConfigurationError if none is left.
    """
    failed: dict[str, ConfigurationError] = {}
    for name, graph in repository.graphs.items():
        try:
            check_loadable(graph)
        except ConfigurationError as error:
            failed[name] = error
    return repository.without(failed)


def _parts(models_path: Path, family: Family) -> Iterator[str]:
    """Yield the folders of the parts that model_index.json names, once their classes are those of the family."""
    path = models_path / "model_index.json"
    index = read_json_file(path)
    for part, wanted in family.components.items():
        entry = index.get(part)
        found = entry[1] if isinstance(entry, list) and len(entry) > 1 else None
        if found is None and part in family.optional_components and (entry is None or isinstance(entry, list)):
            continue
        if found != wanted:
            said = "is not given" if found is None else f"is of the class {str(found)[:100]!r}"
            raise RepositoryError(f"{path}: {part} {said}; a {family} model needs one of the class {wanted}.")
        yield "vae_decoder" if part == "vae" else part


def _text_encoders(models_path: Path, parts: list[str]) -> list[str]:
    """Return the parts that need a tokenizer: a worker looks at every folder of a text encoder."""
    there = {path.name for path in models_path.glob("text_encoder*")}
    return sorted(there | {part for part in parts if part.startswith("text_encoder")})


def _check_files(models_path: Path, parts: list[str]) -> None:
    needed = [Path(part, name) for part in parts for name in ("config.json", _NETWORK, "openvino_model.bin")]
    for encoder in _text_encoders(models_path, parts):
        folder = encoder.replace("text_encoder", "tokenizer")
        needed += [Path(folder, _TOKENIZER), Path(folder, "openvino_tokenizer.bin")]
    missing = [file for file in needed if not is_file(models_path / file)]
    if missing:
        raise RepositoryError(f"{models_path / missing[0]}: There is no such file. Is the model complete?")


def _check_tokenizer(tokenizer: NetworkFile) -> None:
    if not any(one.element_type == "string" for one in tokenizer.inputs):
        raise RepositoryError(f"{tokenizer.path}: This is no tokenizer: it takes no text. Export the model again.")


def _vae_encoder(models_path: Path) -> NetworkFile | None:
    """Return the VAE's encoder, None where a worker cannot load one: such a model generates and does not edit."""
    try:
        return read_network(models_path / "vae_encoder" / _NETWORK)
    except RepositoryError:
        return None


def _check_scaling(models_path: Path, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        path = models_path / "vae_decoder" / "config.json"
        raise RepositoryError(f"{path}: scaling_factor is {value!r}; write a number.")
