"""Pictures that clients send: checked, turned upright, converted to what a pipeline takes.

The format is told by the content; names and content types that clients claim are not looked at.
"""

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.requests.picture_parts import excess
from graphs.resolution import Resolution

_FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow's own guard counts differently and only warns below twice its limit; ours is checked on every open.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class InputPictures:
    """An edit's input as PNG bytes: the image in RGB, the mask in greys (white = repaint), and the image's size."""

    image: bytes
    mask: bytes | None
    size: Resolution


def read_pictures(image: bytes, mask: bytes | None, max_pixels: int) -> InputPictures:
    """Read an image and, if given, a mask. Raises InvalidImage or RequestTooLarge naming ``image`` or ``mask``."""
    picture = _open(image, "image", max_pixels)
    size, encoded = Resolution(*picture.size), _png(_as_rgb(picture))
    del picture  # 4 bytes a pixel, which the mask need not lie beside
    return InputPictures(
        image=encoded,
        mask=None if mask is None else _png(_as_mask(_open(mask, "mask", max_pixels))),
        size=size,
    )


def _open(content: bytes, param: str, max_pixels: int) -> Image.Image:
    if not content:
        raise InvalidImage(f"{param} is an empty file.", param=param, code="empty_image_file")
    if too_much := excess(content):
        reason = f"{param} has {too_much}, which takes too long to read; save it anew with another program."
        raise InvalidImage(reason, param=param, code="invalid_image_format")
    try:
        picture = Image.open(io.BytesIO(content), formats=_FORMATS)
        if picture.width * picture.height > max_pixels:
            raise RequestTooLarge(
                f"{param} has {picture.width}x{picture.height} pixels; at most {max_pixels} are accepted.",
                param=param,
                code="image_too_large",
            )
        picture.load()
        return _upright(picture)
    except RequestTooLarge:
        raise
    except Exception as error:
        raise InvalidImage(
            f"{param} is no PNG, JPEG or WebP picture that can be read ({type(error).__name__}).",
            param=param,
            code="invalid_image_format",
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds; broken EXIF data say nothing about the pixels
        return picture


def _as_rgb(picture: Image.Image) -> Image.Image:
    picture = _eight_bit(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _as_mask(picture: Image.Image) -> Image.Image:
    """Real transparency means OpenAI's rule (transparent = repaint); else OVMS's (white = repaint)."""
    picture = _eight_bit(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.histogram()[255] < alpha.width * alpha.height:
            return ImageOps.invert(alpha)
    return picture.convert("L")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """16-bit greys to 8 bits; Pillow on its own would cut everything above 255 to white."""
    if not picture.mode.startswith("I"):
        return picture
    # Division by scaling: Pillow takes no function but a linear one for 32-bit pictures.
    return Image.frombytes("L", picture.size, picture.convert("I").tobytes()[1::4])


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
