"""What can go wrong in the simulated engine: requests at fault, a device at fault, and images that look like it."""

from enum import StrEnum

import numpy as np

from workers.engine.checks.verdict import Trouble
from workers.engine.protocol import DrawingFailed, Pixels


class SimulatedFault(StrEnum):
    """What happens to a request whose prompt contains these words."""

    RUNTIME_ERROR = "simulate a runtime error"
    NOT_FINITE = "simulate infinite numbers"
    ONE_VALUE = "simulate an image of one value"
    PLAIN = "simulate a plain image"  # an honest one: values of 253 to 255
    BROKEN_DEVICE = "simulate a broken device"  # it draws nothing right until its process ends


class SimulatedDevice:
    """The device of a simulated engine, which may break."""

    def __init__(self, breaks_after: int | None = None) -> None:
        """``breaks_after``: how many requests it draws before it breaks by itself; None: it never does."""
        self._breaks_after = breaks_after
        self._begun = 0
        self._is_broken = False

    def begin(self, prompt: str) -> None:
        """Begin a request. Raises DrawingFailed where it fails at its first step."""
        self._is_broken |= self._begun == self._breaks_after or SimulatedFault.BROKEN_DEVICE in prompt
        self._begun += 1
        if SimulatedFault.RUNTIME_ERROR in prompt:
            raise DrawingFailed(Trouble.RUNTIME_ERROR, "The runtime failed: this error is simulated.")

    def drawn(self, prompt: str, image: Pixels, seed: int) -> Pixels:
        """Return what comes of an image, or raise DrawingFailed. A broken device does one of both, by the seed."""
        trouble = list(Trouble)[seed % len(Trouble)] if self._is_broken else None
        if trouble is Trouble.RUNTIME_ERROR:
            raise DrawingFailed(trouble, "The runtime failed: the simulated device is broken.")
        if trouble is Trouble.NOT_FINITE or SimulatedFault.NOT_FINITE in prompt:
            raise DrawingFailed(Trouble.NOT_FINITE, "The model computed infinite numbers: this fault is simulated.")
        if trouble is Trouble.ONE_VALUE:
            return np.zeros_like(image)
        if SimulatedFault.ONE_VALUE in prompt:
            return np.full_like(image, 255)
        return 253 + image % 3 if SimulatedFault.PLAIN in prompt else image
