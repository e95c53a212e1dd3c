"""Pictures that clients send: checked, turned upright, converted to what a pipeline takes.

The format is told by the content; names and content types that clients claim are not looked at.
"""

import io
import re
from dataclasses import dataclass

from PIL import Image, ImageOps

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.resolution import Resolution

_FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow's own guard counts differently and only warns below twice its limit; ours is checked on every open.
Image.MAX_IMAGE_PIXELS = None

# Encoders write about ten. libjpeg-turbo's authors advise a limit (their report LJT-01-004) and have none built in.
_MOST_SCANS = 50
# 64 MiB of PNG in the smallest usual parts, 4 KiB each, are 16,000.
_MOST_PARTS = 100_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # within a scan's data 0xFF is stuffed, or a restart
_SCAN, _END = 0xDA, 0xD9
_ALONE = {0x01, 0xD8}  # markers without a length


@dataclass(frozen=True)
class EncodedInputs:
    """An edit's input as PNG bytes: the image in RGB, the mask in greys (white = repaint), and the image's size."""

    image: bytes
    mask: bytes | None
    size: Resolution


def read_input_images(image: bytes, mask: bytes | None, max_pixels: int) -> EncodedInputs:
    """Read an image and, if given, a mask. Raises InvalidImage or RequestTooLarge naming ``image`` or ``mask``."""
    picture = _open(image, "image", max_pixels)
    size, encoded = Resolution(*picture.size), _png(_as_rgb(picture))
    del picture  # 4 bytes a pixel, which the mask need not lie beside
    return EncodedInputs(
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


def excess(content: bytes) -> str | None:
    """Say of what a JPEG or PNG has too much to be read in reasonable time; None where nothing speaks against it."""
    if content.startswith(_PNG):
        return _too_many_parts(_count_chunks(content))
    return _jpeg_excess(content) if content.startswith(_JPEG) else None


def _count_chunks(content: bytes) -> int:
    """Count a PNG's chunks, as far as it matters: length (4 bytes), name (4), data, checksum (4)."""
    at, count = len(_PNG), 0
    while at < len(content) and count <= _MOST_PARTS:
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        count += 1
    return count


def _jpeg_excess(content: bytes) -> str | None:
    """Walk over a JPEG's markers, up to the picture's end; what lies within its segments does not count."""
    at, parts, scans, in_scan = 0, 0, 0, False
    while (found := _MARKER.search(content, at)) is not None and (kind := found[1][0]) != _END:
        # Fill bytes before a marker are read one by one as well; a scan's data are not.
        parts += 1 if in_scan else 1 + found.start() - at
        in_scan = kind == _SCAN
        scans += in_scan
        if scans > _MOST_SCANS:
            return f"more than {_MOST_SCANS} scans"
        if parts > _MOST_PARTS:
            break
        at = found.end()
        if kind not in _ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return _too_many_parts(parts)


def _too_many_parts(count: int) -> str | None:
    return f"more than {_MOST_PARTS} parts" if count > _MOST_PARTS else None
