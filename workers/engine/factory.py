"""Which engine a worker gets."""

from pathlib import Path
from typing import Literal

from graphs.definition.graph import Graph
from graphs.families.model_facts import ModelFacts
from workers.engine.protocol import Engine
from workers.engine.simulated import SimulatedEngine


def make_engine(
    kind: Literal["openvino", "simulated"],
    graph: Graph,
    facts: ModelFacts,
    *,
    device: tuple[str, ...],
    cache_dir: Path | None,
    simulated_step_s: float,
    simulated_fatal_words: str | None = None,
) -> Engine:
    """Return an engine that is not loaded yet.

    ``device`` has one entry, or three (text encoders, denoising, VAE); ``cache_dir`` is where compiled models
    are kept, None for nowhere; ``simulated_step_s`` is the length of a simulated step in seconds,
    ``simulated_fatal_words`` what in a prompt ends a simulating process.
    """
    if kind == "simulated":
        return SimulatedEngine(simulated_step_s, simulated_fatal_words)
    # Imported here: Celery's parent process imports this module and must never import openvino.
    from workers.engine.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(graph, facts, device=device, cache_dir=cache_dir)
