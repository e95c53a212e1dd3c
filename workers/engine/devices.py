"""The devices that OpenVINO finds on this machine; ``python -m workers.engine.devices`` prints them as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence

_VIRTUAL_DEVICES = ("AUTO", "HETERO", "MULTI", "BATCH")
_OTHER_WAYS_TO_A_PRECISION = ("EXECUTION_MODE_HINT", "DEVICE_PROPERTIES")


def device_exists(device: str, available: Sequence[str]) -> bool:
    """Return whether OpenVINO can compile for a device, given the devices that it found.

    ``GPU`` and ``GPU.0`` are the same device. For a virtual device (``AUTO:GPU,CPU``) the runtime checks the parts.
    """
    name = device.partition(":")[0]
    if name in _VIRTUAL_DEVICES or name in available:
        return True
    return f"{name}.0" in available or name.removesuffix(".0") in available


def keeps_input_addresses(devices: Sequence[str], plugin_config: Mapping[str, object]) -> bool:
    """Return whether DYNAMIC adapters may be computed from an earlier call's memory (zero_adapters.py).

    ``devices`` has one entry, or three of which the second denoises. The CPU does so in f32. In bf16, which it computes
    in by itself where it has instructions for it, it converts the inputs and does not. Everything that may lead to
    another type counts as f32, and a virtual device as the CPU.
    """
    import openvino  # as in main

    device = devices[len(devices) // 2].partition(".")[0]
    if device in ("GPU", "NPU"):
        return False
    precision = str(plugin_config.get("INFERENCE_PRECISION_HINT", "bf16"))
    if precision != "bf16" or not plugin_config.keys().isdisjoint(_OTHER_WAYS_TO_A_PRECISION):
        return True
    return "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def thread_properties(
    devices: Sequence[str], plugin_config: Mapping[str, object], most_threads: int | None
) -> dict[str, object]:
    """Return the properties that bound the threads of a model on the CPU; none where something else decides.

    OpenVINO sees the affinity of its process by itself, but not the quota of a cgroup, from which ``most_threads``
    comes (None: there is none). It would bind these threads to the first CPUs, in every process to the same ones; that
    is switched off. Other devices refuse these properties, and what the graph sets itself has priority.
    """
    is_set = "INFERENCE_NUM_THREADS" in str(plugin_config)  # in DEVICE_PROPERTIES too
    if most_threads is None or is_set or any(device != "CPU" for device in devices):
        return {}
    return {"INFERENCE_NUM_THREADS": most_threads, "ENABLE_CPU_PINNING": False}


def main(asked: Sequence[str]) -> None:
    """Print the devices that OpenVINO finds, and which of ``asked`` are missing."""
    import openvino  # here, so that importing this module does not load the runtime

    available = openvino.Core().available_devices
    missing = [device for device in asked if not device_exists(device, available)]
    sys.stdout.write(json.dumps({"available": list(available), "missing": missing}))


if __name__ == "__main__":
    main(sys.argv[1:])
