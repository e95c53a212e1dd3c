"""What a worker plans with before it has loaded its model."""

import pytest

from config.settings import WorkerSettings
from graphs.definition.graph import Graph
from graphs.repository.bundled import bundled_model_path
from graphs.resolution import Resolution
from workers.process.memory.planned_memory import plan_memory

pytestmark = pytest.mark.fast

MIB = 2**20
GRAPH = Graph(name="demo", models_path=bundled_model_path())
LIMITED = WorkerSettings(child_memory_limit_bytes=100 * MIB)


def _graph(**plugin_config: str) -> Graph:
    return GRAPH.model_copy(update={"plugin_config": plugin_config})


def test_the_bound_is_that_of_the_settings_or_most_of_this_machines_memory() -> None:
    assert plan_memory(LIMITED, GRAPH, ("CPU",)).limit_bytes == 100 * MIB
    assert plan_memory(WorkerSettings(), GRAPH, ("CPU",)).limit_bytes > 100 * MIB


@pytest.mark.parametrize("device", [("GPU",), ("CPU", "GPU", "CPU"), ("AUTO:CPU",)])
def test_only_a_cpu_is_estimated(device: tuple[str, ...]) -> None:
    assert plan_memory(LIMITED, GRAPH, device).need is None


def test_a_device_that_a_cpu_stands_in_for_is_estimated_and_the_simulated_engine_is_not() -> None:
    mapped = WorkerSettings(device_map="GPU=CPU")
    assert plan_memory(mapped, GRAPH, ("GPU",)).need is not None
    assert plan_memory(WorkerSettings(engine="simulated"), GRAPH, ("CPU",)).need is None


def test_the_type_that_the_cpu_computes_in_counts() -> None:
    f32, bf16, f16 = (
        plan_memory(LIMITED, _graph(INFERENCE_PRECISION_HINT=name), ("CPU",)).need for name in ("f32", "bf16", "f16")
    )
    assert f32 is not None and bf16 is not None
    assert f32.pixel_bytes == pytest.approx(2 * bf16.pixel_bytes, abs=1)
    assert bf16 == f16
    assert plan_memory(LIMITED, _graph(EXECUTION_MODE_HINT="ACCURACY"), ("CPU",)).need == f32
    assert plan_memory(LIMITED, GRAPH, ("CPU",)).need in (f32, bf16)


def test_the_warning_of_a_model_that_is_past_the_bound_has_figures() -> None:
    size = Resolution(128, 128)
    bf16 = _graph(INFERENCE_PRECISION_HINT="bf16")
    assert plan_memory(LIMITED, bf16, ("CPU",)).load_warning(size) == (
        "the model is estimated to take 274 MiB for an image of 128x128, 270 MiB of them for any size; the bound of "
        "the process that draws is 100 MiB (IMAGEGEN_WORKER__CHILD_MEMORY_LIMIT_BYTES). It is loaded nevertheless; if "
        "the system ends the process, serve it with smaller weights (INT8) or on a machine with more memory."
    )
    assert plan_memory(WorkerSettings(child_memory_limit_bytes=300 * MIB), bf16, ("CPU",)).load_warning(size) is None
    assert plan_memory(LIMITED, GRAPH, ("GPU",)).load_warning(size) is None
