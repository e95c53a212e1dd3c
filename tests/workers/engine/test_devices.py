"""On which devices the ranks of DYNAMIC adapters have to change from call to call."""

from pathlib import Path

import openvino
import pytest

from workers.engine.devices import keeps_input_addresses

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("openvino_runtime")


@pytest.mark.parametrize(
    "config",
    [
        {"INFERENCE_PRECISION_HINT": "f32"},
        {"INFERENCE_PRECISION_HINT": "f16"},
        {"EXECUTION_MODE_HINT": "ACCURACY"},
        {"DEVICE_PROPERTIES": {"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}},
    ],
)
def test_a_cpu_that_may_compute_in_f32(config: dict[str, object]) -> None:
    assert keeps_input_addresses(("CPU",), config)
    assert keeps_input_addresses(("GPU", "CPU", "GPU"), config)


def test_other_devices_convert_or_copy_the_inputs() -> None:
    assert not keeps_input_addresses(("GPU.1",), {"INFERENCE_PRECISION_HINT": "f32"})
    assert not keeps_input_addresses(("CPU", "NPU", "CPU"), {})


def test_the_cpu_of_this_machine() -> None:
    core = openvino.Core()
    model = core.compile_model(core.read_model(ROOT / "graphs" / "demo" / "unet" / "openvino_model.xml"), "CPU")
    assert keeps_input_addresses(("CPU",), {}) == (model.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32)
