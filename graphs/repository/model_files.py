"""What a worker needs of a model beyond its facts: the files of its parts, and a scheduler that GenAI has."""

from collections.abc import Iterator
from pathlib import Path

from graphs.definition.graph import Graph
from graphs.errors import ConfigurationError, RepositoryError
from graphs.families.model_facts import ModelFacts
from graphs.operator_files import is_file, parse_object, read_text
from graphs.repository.repository import Repository
from graphs.repository.served_facts import read_served_facts

# Those that GenAI 2026.4 makes of a scheduler_config.json (``openvino_genai.Scheduler.Type``).
SCHEDULERS = (
    "DDIMScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
)
_WEIGHTS = ("openvino_model.xml", "openvino_model.bin")
_TOKENIZER = ("openvino_tokenizer.xml", "openvino_tokenizer.bin")


def check_loadable(graph: Graph) -> None:
    """Check what a worker reads of a graph's model. Raises RepositoryError.

    The API needs none of these files, so it does not ask: they may be on the workers' machines only.
    """
    facts = read_served_facts(graph)
    _check_scheduler(graph.models_path, facts)
    missing = [file for file in _needed(graph.models_path) if not is_file(graph.models_path / file)]
    if missing:
        raise RepositoryError(f"{graph.models_path / missing[0]}: There is no such file. Is the model complete?")


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


def _check_scheduler(models_path: Path, facts: ModelFacts) -> None:
    if facts.scheduler not in SCHEDULERS:
        raise RepositoryError(
            f"{models_path / 'scheduler' / 'scheduler_config.json'}: _class_name is {facts.scheduler!r}, a scheduler "
            f"that OpenVINO GenAI does not have; write one of {', '.join(SCHEDULERS)}."
        )


def _needed(models_path: Path) -> Iterator[Path]:
    """Yield the files of the parts that model_index.json names with a class; ``[null, null]`` means none.

    The encoder of the VAE is not among them: a model without one generates and does not edit.
    """
    for part, kind in parse_object(read_text(models_path / "model_index.json")).items():
        if not isinstance(kind, list) or None in kind:
            continue
        if part in ("unet", "transformer", "vae") or part.startswith("text_encoder"):
            folder = "vae_decoder" if part == "vae" else part
            yield from (Path(folder, name) for name in _WEIGHTS)
        elif part.startswith("tokenizer"):
            yield from (Path(part, name) for name in _TOKENIZER)
