"""Which devices OpenVINO finds on this machine. ``python -m workers.engine.devices`` prints them as JSON."""

import json
import sys
from collections.abc import Sequence

_VIRTUAL_DEVICES = ("AUTO", "HETERO", "MULTI", "BATCH")


def device_exists(device: str, available: Sequence[str]) -> bool:
    """Tell whether OpenVINO can be asked for a device, given those it found.

    ``GPU`` stands for ``GPU.0``, in both directions; the parts of a virtual device are the runtime's matter.
    """
    name = device.partition(":")[0]
    if name in _VIRTUAL_DEVICES or name in available:
        return True
    return f"{name}.0" in available or name.removesuffix(".0") in available


def main(asked: Sequence[str]) -> None:
    """Print the devices there are, and which of those asked for are missing."""
    import openvino  # here, so that the judgement above costs nothing

    available = openvino.Core().available_devices
    missing = [device for device in asked if not device_exists(device, available)]
    sys.stdout.write(json.dumps({"available": list(available), "missing": missing}))


if __name__ == "__main__":
    main(sys.argv[1:])
