"""Images for tests: encoded bytes from Pillow images, and pixels from encoded bytes."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def image_bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image encoded in the format ``kind`` with Pillow's options of that format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def red_image(mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    """Return an image of one colour, (width, height) pixels large."""
    return Image.new(mode, size, "red")


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of an encoded image: (height, width, 3), RGB."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
