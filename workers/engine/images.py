"""Encodes generated images as files, and decodes input images."""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from graphs.requests.image_fit import ImageFit, fitted_image, fitted_mask
from graphs.requests.output_formats import OUTPUT_FORMATS, OutputFormat
from graphs.resolution import Resolution
from workers.engine.protocol import InputImages, Pixels

# Measured at 512x512: levels 1, 3 and 6 take 0.03 to 0.05 s, and level 3 is close to 6 in size.
_PNG_LEVEL = 3
# One pixel of so many in each direction.
_SAMPLED = 32


def encode(pixels: Pixels, output_format: OutputFormat, compression: int) -> bytes:
    """Encode RGB pixels ``uint8 [height, width, 3]`` and return the image file, which says that its colours are sRGB.

    ``compression`` is the quality, 0 to 100, of a format that has one; png is lossless and ignores it.
    """
    has_quality = OUTPUT_FORMATS[output_format].has_quality
    options: dict[str, Any] = {"quality": compression} if has_quality else {"compress_level": _PNG_LEVEL}
    mark = {"pnginfo": _png_mark()} if output_format == "png" else {"icc_profile": _srgb_profile()}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=output_format, **options, **mark)
    return buffer.getvalue()


def _png_mark() -> PngImagePlugin.PngInfo:
    """Return the chunk sRGB, 13 bytes in the file; 0 is the perceptual intent (PNG specification, section 11.3.2.5)."""
    mark = PngImagePlugin.PngInfo()
    mark.add(b"sRGB", b"\0")
    return mark


@functools.cache
def _srgb_profile() -> bytes:
    """Return littleCMS's sRGB profile, 588 bytes: JPEG and WebP have no shorter mark that all programs read.

    The time at which it was made is left out (ICC.1:2022, section 7.2.8), so that equal images are equal files.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def has_one_value(pixels: Pixels) -> bool:
    """Return whether all values of an image ``uint8 [height, width, 3]`` are the same: nothing was drawn, most likely.

    A few pixels tell it of nearly all images; only where these are equal, all of them are read.
    """
    few = pixels[::_SAMPLED, ::_SAMPLED]
    return bool(few.min() == few.max() and pixels.min() == pixels.max())


def decode_inputs(image_png: bytes, mask_png: bytes | None, size: Resolution, fit: ImageFit = "stretch") -> InputImages:
    """Decode the PNGs that the API has checked: the image as RGB, the mask as 8-bit grey, at the size that is drawn.

    The API has brought them to this size already; those of jobs that an older release accepted may have another.
    Raises OSError (Pillow's UnidentifiedImageError) for bytes that are no PNG image.
    """
    image = _opened(image_png, "RGB")
    mask = None if mask_png is None else _opened(mask_png, "L")
    image_size = Resolution(image.width, image.height)
    return InputImages(
        image=np.array(fitted_image(image, size, fit)),
        mask=None if mask is None else np.array(fitted_mask(mask, image_size, size, fit)),
    )


def _opened(png: bytes, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return image.convert(mode)
