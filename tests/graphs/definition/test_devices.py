import pytest

from graphs.definition.devices import device_shown, uses_npu, with_stand_ins


@pytest.mark.parametrize(
    "devices", [("NPU",), ("NPU.0",), ("HETERO:NPU,CPU",), ("AUTO:CPU,NPU",), ("CPU", "GPU", "NPU")]
)
def test_the_npu_is_found_in_virtual_devices_too(devices: tuple[str, ...]) -> None:
    assert uses_npu(devices)


@pytest.mark.parametrize("devices", [("CPU",), ("GPU.1",), ("CPU", "GPU", "CPU"), ("MULTI:GPU.0,GPU.1",), ("XNPU",)])
def test_other_devices_are_no_npu(devices: tuple[str, ...]) -> None:
    assert not uses_npu(devices)


@pytest.mark.parametrize(
    ("device", "compiled"),
    [
        ("GPU", "CPU"),
        ("GPU.1", "CPU"),
        ("NPU", "GPU.0"),
        ("GPU.7", "GPU.0"),
        ("CPU", "CPU"),
        ("HETERO:NPU,CPU", "HETERO:GPU.0,CPU"),
        ("XGPU", "XGPU"),
    ],
)
def test_a_device_is_replaced_by_its_stand_in(device: str, compiled: str) -> None:
    stand_ins = {"GPU": "CPU", "NPU": "GPU.0", "GPU.7": "GPU.0"}
    assert with_stand_ins(("CPU", device), stand_ins) == ("CPU", compiled)


def test_a_device_shows_what_stands_in_for_it() -> None:
    assert device_shown(("CPU", "GPU", "NPU"), {"GPU": "CPU", "NPU": "CPU"}) == "CPU GPU NPU (mapped to CPU CPU CPU)"
    assert device_shown(("CPU",), {"GPU": "CPU"}) == "CPU"
