"""Lays what was drawn over the input image through the mask, so that what is outside keeps its pixels exactly."""

import numpy as np
import numpy.typing as npt

from workers.engine.protocol import InputImages, Pixels

# The runtime repaints where the mask has at least this value (of 255).
_REPAINTED = 128

_Weights = npt.NDArray[np.float64]


def composited(drawn: Pixels, inputs: InputImages, feather_px: int) -> Pixels:
    """Return the drawn image inside the mask and the input image outside; ``uint8 [height, width, 3]``.

    In between it is a blend, over at most ``feather_px`` pixels outwards from the mask. Beyond them every pixel is that
    of the input image at the size that was drawn. Without a mask, the drawn image is returned.
    """
    if inputs.mask is None:
        return drawn
    weights = mask_weights(inputs.mask, feather_px)[..., np.newaxis]
    blend = np.rint(inputs.image * (1 - weights) + drawn * weights).astype(np.uint8)
    # The two ends are copied, so that no rounding touches them.
    return np.where(weights == 0, inputs.image, np.where(weights == 1, drawn, blend))


def mask_weights(mask: Pixels, feather_px: int) -> _Weights:
    """Return how much of each pixel is drawn, 0 to 1 ``[height, width]``: 1 where the mask repaints.

    The mask is grown by half of the feather, and then each pixel is the mean of a square that reaches as far again.
    """
    weights = (mask >= _REPAINTED).astype(np.float64)
    radius = feather_px // 2
    if radius == 0:
        return weights
    for axis in (0, 1):
        weights = (_window_sums(weights, radius, axis) > 0).astype(np.float64)
    for axis in (0, 1):
        # Whole numbers, so that the sums and with them 0 and 1 are exact.
        weights = _window_sums(weights, radius, axis)
    return weights / _window_sums(_window_sums(np.ones(mask.shape), radius, 0), radius, 1)


def _window_sums(values: _Weights, radius: int, axis: int) -> _Weights:
    """Return the sum of the values up to ``radius`` before and behind each place; there are none beyond the edges."""
    length = values.shape[axis]
    before = [(0, 0), (0, 0)]
    before[axis] = (1, 0)
    sums = np.pad(np.cumsum(values, axis=axis), before)
    first = np.clip(np.arange(length) - radius, 0, length)
    last = np.clip(np.arange(length) + radius + 1, 0, length)
    return np.take(sums, last, axis) - np.take(sums, first, axis)
