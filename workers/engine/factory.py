"""Makes the engine that the settings name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from graphs.definition.graph import Graph
from graphs.families.model_facts import ModelFacts
from workers.engine.protocol import Engine
from workers.engine.simulated import SimulatedEngine
from workers.engine.simulated_faults import SimulatedDevice


def make_engine(
    kind: Literal["openvino", "simulated"],
    graph: Graph,
    facts: ModelFacts,
    *,
    device: tuple[str, ...],
    stand_ins: Mapping[str, str] | None = None,
    cache_dir: Path | None,
    most_threads: int | None = None,
    simulated_step_s: float,
    simulated_fatal_words: str | None = None,
    simulated_device: SimulatedDevice | None = None,
) -> Engine:
    """Return an engine that has not loaded its model yet.

    ``device`` has one entry, or three (text encoders, denoising, VAE). ``stand_ins``: the devices that
    the model is compiled for in place of others. ``cache_dir`` is the folder of compiled models;
    None keeps none. ``most_threads``: how many threads a CPU computes with, unless the graph says it; None: as many as
    the runtime chooses. ``simulated_step_s`` is the length of a simulated step in seconds. A prompt that contains
    ``simulated_fatal_words`` kills the process of a simulated engine, and ``simulated_device`` may break.
    """
    if kind == "simulated":
        return SimulatedEngine(simulated_step_s, simulated_fatal_words, simulated_device)
    # Imported here: Celery's parent process imports this module and must never import openvino.
    from workers.engine.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(
        graph, facts, device=device, stand_ins=stand_ins, cache_dir=cache_dir, most_threads=most_threads
    )
