"""Finds the transparent pixels of an input image, and its hole: the pixels that an inpainting model repaints.

OpenAI's rule for an edit without a mask: where the image's alpha is 0, it is repainted.
"""

from PIL import Image

_IS_CLEAR = [255, *[0] * 255]
"""By a pixel's alpha: whether it belongs to a hole, as a grey value."""


class Transparency:
    """What the alpha of an image says, gathered strip by strip, with one bit for each pixel."""

    def __init__(self) -> None:
        """Begin with no strip."""
        self._width = 0
        self._rows = bytearray()
        self._has_hole = False
        self.is_opaque = True

    def add(self, alpha: Image.Image) -> None:
        """Add the alpha (8-bit grey) of the next strip, which is as wide as the image."""
        counts = alpha.histogram()
        self.is_opaque = self.is_opaque and not any(counts[:255])
        self._has_hole = self._has_hole or counts[0] > 0
        self._width = alpha.width
        # Pillow pads each row to whole bytes, so strips follow one another.
        self._rows += alpha.point(_IS_CLEAR).convert("1", dither=Image.Dither.NONE).tobytes()

    def hole(self) -> Image.Image | None:
        """Return the hole as a mask of the image (8-bit grey, white = repaint), None without one."""
        if not self._has_hole:
            return None
        row_bytes = (self._width + 7) // 8
        size = (self._width, len(self._rows) // row_bytes)
        return Image.frombytes("1", size, bytes(self._rows)).convert("L")
