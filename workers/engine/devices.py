"""The devices that OpenVINO finds on this machine; ``python -m workers.engine.devices`` prints them as JSON."""

import json
import sys
from collections.abc import Sequence

_VIRTUAL_DEVICES = ("AUTO", "HETERO", "MULTI", "BATCH")


def device_exists(device: str, available: Sequence[str]) -> bool:
    """Return whether OpenVINO can compile for a device, given the devices that it found.

    ``GPU`` and ``GPU.0`` are the same device. For a virtual device (``AUTO:GPU,CPU``) the runtime checks the parts.
    """
    name = device.partition(":")[0]
    if name in _VIRTUAL_DEVICES or name in available:
        return True
    return f"{name}.0" in available or name.removesuffix(".0") in available


def main(asked: Sequence[str]) -> None:
    """Print the devices that OpenVINO finds, and which of ``asked`` are missing."""
    import openvino  # here, so that importing device_exists does not load the runtime

    available = openvino.Core().available_devices
    missing = [device for device in asked if not device_exists(device, available)]
    sys.stdout.write(json.dumps({"available": list(available), "missing": missing}))


if __name__ == "__main__":
    main(sys.argv[1:])
