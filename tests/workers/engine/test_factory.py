"""The factory makes the configured engine, and importing it does not import openvino."""

import subprocess
import sys

import pytest

from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS, make_graph
from workers.engine.factory import make_engine
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.simulated import SimulatedEngine


def test_make_engine() -> None:
    graph, facts = make_graph(MODELS / "sd"), read_model_facts(MODELS / "sd")

    simulated = make_engine("simulated", graph, facts, device=("CPU",), cache_dir=None, simulated_step_s=0.5)
    real = make_engine("openvino", graph, facts, device=("CPU",), cache_dir=None, simulated_step_s=0.5)

    assert isinstance(simulated, SimulatedEngine)
    assert isinstance(real, OpenVinoEngine)


@pytest.mark.usefixtures("processes")
def test_importing_the_factory_does_not_import_openvino() -> None:
    code = (
        "import sys, workers.engine.factory, workers.engine.images, workers.engine.step_watch;"
        "sys.exit(any(name.startswith('openvino') for name, module in sys.modules.items() if module))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
