import pytest

from graphs.definition.devices import uses_npu


@pytest.mark.parametrize(
    "devices", [("NPU",), ("NPU.0",), ("HETERO:NPU,CPU",), ("AUTO:CPU,NPU",), ("CPU", "GPU", "NPU")]
)
def test_the_npu_is_found_in_virtual_devices_too(devices: tuple[str, ...]) -> None:
    assert uses_npu(devices)


@pytest.mark.parametrize("devices", [("CPU",), ("GPU.1",), ("CPU", "GPU", "CPU"), ("MULTI:GPU.0,GPU.1",), ("XNPU",)])
def test_other_devices_are_no_npu(devices: tuple[str, ...]) -> None:
    assert not uses_npu(devices)
