"""Checks the images that clients send, turns them upright and converts them to what a pipeline takes.

The format is detected from the content; file names and content types from clients are ignored.

Small files can keep a decoder busy for hours, so the structure of JPEG and PNG is checked before they are decoded.
A progressive JPEG refines the whole image in scan after scan, and an empty scan takes some 60 bytes: 170 kB kept
libjpeg busy for 18 seconds. Pillow reads the segments of JPEG and the chunks of PNG one by one in Python, which took 10
to 18 seconds for 12 MB of empty ones. The structures are those of ITU-T T.81 (annex B) and of the PNG specification
(section 5).
"""

import io
import re
from dataclasses import dataclass

from PIL import Image, ImageOps

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.resolution import Resolution

_FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow's own limit only warns up to twice its value; _open checks ours for every image.
Image.MAX_IMAGE_PIXELS = None

# Encoders write about ten. libjpeg-turbo has no limit, and its authors advise one (their report LJT-01-004).
_MOST_SCANS = 50
# A PNG of 64 MiB in the smallest usual chunks, 4 KiB each, has 16,000.
_MOST_PARTS = 100_000
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # in the data of a scan, 00 or a restart marker follows 0xFF
_SCAN = 0xDA
_END = 0xD9
_ALONE = {0x01, 0xD8}  # markers without a length


@dataclass(frozen=True)
class EncodedInputs:
    """The input of an edit as PNG bytes: the image in RGB, the mask in grey (white = repaint), and the image's size."""

    image: bytes
    mask: bytes | None
    size: Resolution


def read_input_images(image: bytes, mask: bytes | None, max_pixels: int) -> EncodedInputs:
    """Read an image and, if given, a mask.

    ``max_pixels`` is the limit of each. Raises InvalidImage or RequestTooLarge, which name ``image`` or ``mask``.
    """
    opened = _open(image, "image", max_pixels)
    size = Resolution(*opened.size)
    encoded = _png(_as_rgb(opened))
    del opened  # frees 4 bytes a pixel before the mask is decoded
    return EncodedInputs(
        image=encoded,
        mask=None if mask is None else _png(_as_mask(_open(mask, "mask", max_pixels))),
        size=size,
    )


def _open(content: bytes, param: str, max_pixels: int) -> Image.Image:
    if not content:
        raise InvalidImage(f"{param} is an empty file.", param=param, code="empty_image_file")
    if excess := _excess(content):
        reason = f"{param} has {excess}, which takes too long to read; save it anew with another program."
        raise InvalidImage(reason, param=param, code="invalid_image_format")
    try:
        opened = Image.open(io.BytesIO(content), formats=_FORMATS)
        if opened.width * opened.height > max_pixels:
            raise RequestTooLarge(
                f"{param} has {opened.width}x{opened.height} pixels; at most {max_pixels} are accepted.",
                param=param,
                code="image_too_large",
            )
        opened.load()
        return _upright(opened)
    except RequestTooLarge:
        raise
    except Exception as error:
        raise InvalidImage(
            f"{param} is no PNG, JPEG or WebP image that can be read ({type(error).__name__}).",
            param=param,
            code="invalid_image_format",
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - Pillow raises many types; broken EXIF data do not affect the pixels
        return image


def _as_rgb(image: Image.Image) -> Image.Image:
    image = _eight_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _as_mask(image: Image.Image) -> Image.Image:
    """Return the mask with white for what is repainted.

    If a pixel is transparent, OpenAI's rule holds (transparent = repaint), else OVMS's (white = repaint).
    """
    image = _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.histogram()[255] < alpha.width * alpha.height:
            return ImageOps.invert(alpha)
    return image.convert("L")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8 bits; Pillow's own conversion turns every value above 255 to white."""
    if not image.mode.startswith("I"):
        return image
    # The second of four little-endian bytes is the value divided by 256.
    return Image.frombytes("L", image.size, image.convert("I").tobytes()[1::4])


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _excess(content: bytes) -> str | None:
    """Return what a JPEG or PNG has too many of to be read in reasonable time, None if it can be read."""
    if content.startswith(_PNG):
        return _too_many_parts(_count_chunks(content))
    return _jpeg_excess(content) if content.startswith(_JPEG) else None


def _count_chunks(content: bytes) -> int:
    """Count the chunks of a PNG up to the limit. A chunk is length (4 bytes), name (4), data and checksum (4)."""
    at = len(_PNG)
    count = 0
    while at < len(content) and count <= _MOST_PARTS:
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        count += 1
    return count


def _jpeg_excess(content: bytes) -> str | None:
    """Check the number of scans and markers of a JPEG, without the content of its segments."""
    at = 0
    parts = 0
    scans = 0
    in_scan = False
    while (found := _MARKER.search(content, at)) is not None and (kind := found[1][0]) != _END:
        # Pillow reads fill bytes before a marker one by one as well, but not the data of a scan.
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
