"""Loads a model and draws a picture, in a process of its own: ``python -m workers.engine.first_picture FOLDER``.

Exits with 0 where the engine draws the known picture (checks/known_picture.py), which is finite and of more than one
value; else with 1 and one sentence on standard error.
"""

import sys
from pathlib import Path

from graphs.definition.reader import graph_with_defaults
from graphs.errors import ConfigurationError, EngineError
from graphs.families.model_facts import read_model_facts
from workers.engine.factory import make_engine


def main() -> int:
    """Return the exit code."""
    folder = Path(sys.argv[1])
    try:
        graph = graph_with_defaults(folder, folder.name, default_device="CPU")
        engine = make_engine(
            "openvino", graph, read_model_facts(folder), device=("CPU",), cache_dir=None, simulated_step_s=0.0
        )
        engine.load()
    except (ConfigurationError, EngineError) as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the command that started this reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
