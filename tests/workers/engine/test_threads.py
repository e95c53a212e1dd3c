"""How many threads a model on the CPU is computed with: what OpenVINO sees by itself, and what it is given."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS, Engines, draw, make_graph, make_request
from workers.engine import openvino_engine
from workers.engine.devices import thread_properties
from workers.engine.openvino_engine import OpenVinoEngine

BOUND = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
PROGRAM = """
import json, sys, openvino
core = openvino.Core()
found = []
for properties in json.loads(sys.argv[2]):
    compiled = core.compile_model(sys.argv[1], "CPU", properties)
    found.append([compiled.get_property(name) for name in ("INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING")])
print(json.dumps(found))
"""
pytestmark = pytest.mark.usefixtures("openvino_runtime")


@pytest.mark.parametrize(
    ("devices", "config", "most", "expected"),
    [
        (("CPU",), {}, 1, BOUND),
        (("CPU", "CPU", "CPU"), {"NUM_STREAMS": 2}, 1, BOUND),
        (("CPU",), {}, None, {}),
        (("CPU",), {"INFERENCE_NUM_THREADS": 4}, 1, {}),
        (("CPU",), {"DEVICE_PROPERTIES": {"CPU": {"INFERENCE_NUM_THREADS": 4}}}, 1, {}),
        (("GPU",), {}, 1, {}),
        (("CPU", "GPU", "CPU"), {}, 1, {}),
        (("HETERO:GPU,CPU",), {}, 1, {}),
    ],
)
def test_the_properties(
    devices: tuple[str, ...], config: dict[str, object], most: int | None, expected: dict[str, object]
) -> None:
    assert thread_properties(devices, config, most) == expected


@pytest.mark.parametrize("config", [{}, {"ENABLE_CPU_PINNING": True}, {"INFERENCE_NUM_THREADS": 2}], ids=str)
def test_what_the_graph_sets_has_priority(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def stop(options: Any) -> None:
        given.append(dict(options.properties))
        raise InterruptedError

    monkeypatch.setattr(openvino_engine, "load_pipelines", stop)
    graph = make_graph(MODELS / "sd").model_copy(update={"plugin_config": config})
    facts = read_model_facts(MODELS / "sd")
    with pytest.raises(InterruptedError):
        OpenVinoEngine(graph, facts, device=("CPU",), cache_dir=None, most_threads=1).load()
    assert given == [config if "INFERENCE_NUM_THREADS" in config else {**BOUND, **config}]


@pytest.mark.usefixtures("processes")
def test_openvino_sees_the_affinity_and_takes_the_bound() -> None:
    """If it saw no affinity, or a quota too, config/machine_cpus.py would have to say more, or less."""
    unet = MODELS / "sd" / "unet" / "openvino_model.xml"

    def compiled(*before: str) -> Any:
        command = [*before, sys.executable, "-c", PROGRAM, str(unet), json.dumps([{}, BOUND])]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert compiled("taskset", "-c", str(max(os.sched_getaffinity(0)))) == [[1, True], [1, False]]


def test_a_bounded_model_draws_the_same_picture_but_for_rounding(engines: Engines, cache_dir: Path) -> None:
    """In f32; with another number of threads, sums are added in another order."""
    facts = read_model_facts(MODELS / "sdxl")
    request = make_request(facts, Operation.GENERATION)
    engine = OpenVinoEngine(make_graph(MODELS / "sdxl"), facts, device=("CPU",), cache_dir=cache_dir, most_threads=1)
    engine.load()
    bounded = draw(engine, request).images[0]
    np.testing.assert_array_equal(draw(engine, request).images[0], bounded)
    free = draw(engines.of("sdxl").engine, request).images[0]
    np.testing.assert_allclose(bounded.astype(int), free.astype(int), atol=1)
