"""Brings input images to the size that is drawn, as the request's ``image_fit`` says.

The runtime would resize them as well, but compiles its resizer anew for each size and keeps its memory. Its resizer is
Pillow's BICUBIC of 8-bit values, with the sides in this order: first the width, then the height. (Pillow itself
chooses the order by the shape.) The two round differently where a value lies exactly between two numbers: by 1 of 255
(rarely 2) in about 1 of 10,000 values, in up to 9 of 100 at a ratio of exactly 2 to 1 (docs/measurements.md).
"""

from typing import Literal, get_args

from PIL import Image

from graphs.resolution import Resolution

ImageFit = Literal["stretch", "crop", "pad"]
IMAGE_FITS: tuple[ImageFit, ...] = get_args(ImageFit)
_PADDING = "white"
_KEEP = 0  # of a mask


def fitted_image(image: Image.Image, size: Resolution, fit: ImageFit) -> Image.Image:
    """Return an RGB image with the size: stretched, cut to its shape, or with white borders."""
    if fit == "crop":
        return _stretched(image.crop(_middle(_size(image), size)), size)
    if fit == "pad":
        return _padded(image, size, _PADDING)
    return _stretched(image, size)


def fitted_mask(mask: Image.Image, image_size: Resolution, size: Resolution, fit: ImageFit) -> Image.Image:
    """Return a grey mask with the size, treated as the image of ``image_size`` is; borders are kept, not repainted.

    A mask of another shape than its image is stretched to that shape.
    """
    if fit == "crop":
        return _stretched(_stretched(mask, image_size).crop(_middle(image_size, size)), size)
    if fit == "pad":
        return _padded(_stretched(mask, image_size), size, _KEEP)
    return _stretched(mask, size)


def _stretched(image: Image.Image, size: Resolution) -> Image.Image:
    # With the width first, a tall image that becomes a wide one is far larger in between than before and after.
    largest = max(image.width * image.height, size.width * size.height)
    between = (size.width, image.height)
    if size.width * image.height > largest:
        between = (image.width, size.height)
    for sides in (between, (size.width, size.height)):
        if image.size != sides:
            image = image.resize(sides, Image.Resampling.BICUBIC)
    return image


def _middle(size: Resolution, wanted: Resolution) -> tuple[int, int, int, int]:
    """Return the largest box in the middle of an image that has the shape of the wanted size."""
    width = min(size.width, max(1, round(size.height * wanted.width / wanted.height)))
    height = min(size.height, max(1, round(size.width * wanted.height / wanted.width)))
    left = (size.width - width) // 2
    top = (size.height - height) // 2
    return left, top, left + width, top + height


def _padded(image: Image.Image, size: Resolution, colour: str | int) -> Image.Image:
    width = min(size.width, max(1, round(size.height * image.width / image.height)))
    height = min(size.height, max(1, round(size.width * image.height / image.width)))
    padded = Image.new(image.mode, (size.width, size.height), colour)
    padded.paste(_stretched(image, Resolution(width, height)), ((size.width - width) // 2, (size.height - height) // 2))
    return padded


def _size(image: Image.Image) -> Resolution:
    return Resolution(image.width, image.height)
