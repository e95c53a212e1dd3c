"""How many steps an edit has left at a strength, computed as the runtime computes it.

OpenVINO GenAI drops the first ``1 - strength`` of the steps, in single precision.
"""

import struct


def single(value: float) -> float:
    """Round a number to IEEE single precision, as the runtime's C++ does."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def leaves_a_whole_step(strength: float, steps: int) -> bool:
    """Return whether at least one whole step is left: the runtime rounds down."""
    return single(steps * single(strength)) >= 1


def leaves_part_of_a_step(strength: float, steps: int) -> bool:
    """Return whether anything is left: the runtime rounds up."""
    return single(steps * single(strength)) > 0
