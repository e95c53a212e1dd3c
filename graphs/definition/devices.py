"""Device names as OpenVINO writes them, such as CPU, GPU.1 or HETERO:NPU,CPU."""

import re
from collections.abc import Mapping, Sequence

_NAME = re.compile(r"[A-Z][A-Z0-9_]*(\.\d+)?", re.ASCII)


def uses_npu(devices: Sequence[str]) -> bool:
    """Return whether the NPU is one of these devices or a part of a virtual one, such as HETERO:NPU,CPU.

    On the NPU, shapes are static and adapters cannot be switched between requests.
    """
    return any("NPU" in re.split(r"[^A-Z]", device) for device in devices)


def with_stand_ins(devices: Sequence[str], stand_ins: Mapping[str, str]) -> tuple[str, ...]:
    """Return these devices with each that has a stand-in replaced by it, in parts of virtual devices too.

    A stand-in for ``GPU`` replaces ``GPU.0`` and ``GPU.1`` too, unless these have one of their own.
    """

    def replaced(name: re.Match[str]) -> str:
        general = name[0].partition(".")[0]
        return stand_ins.get(name[0]) or stand_ins.get(general) or name[0]

    return tuple(_NAME.sub(replaced, device) for device in devices)


def device_shown(devices: Sequence[str], stand_ins: Mapping[str, str]) -> str:
    """Return the devices as people read them, and the ones that stand in for them, if any do."""
    written = " ".join(devices)
    compiled = " ".join(with_stand_ins(devices, stand_ins))
    return written if compiled == written else f"{written} (mapped to {compiled})"
