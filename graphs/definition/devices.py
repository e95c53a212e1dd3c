"""Device names as OpenVINO writes them, such as CPU, GPU.1 or HETERO:NPU,CPU."""

import re
from collections.abc import Sequence


def uses_npu(devices: Sequence[str]) -> bool:
    """Return whether the NPU is one of these devices or a part of a virtual one, such as HETERO:NPU,CPU.

    On the NPU, shapes are static and adapters cannot be switched between requests.
    """
    return any("NPU" in re.split(r"[^A-Z]", device) for device in devices)
