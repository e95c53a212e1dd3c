"""What an encoded picture says of itself before it is decoded, for each format that is read.

Bytes for each pixel while an image is decoded are measured (docs/measurements.md, "Hostile pictures").
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from graphs.requests.formats.decoding import PROCESS_BYTES, DecoderLimits, limits_for
from graphs.requests.formats.heif import heif_facts, is_heif
from graphs.requests.formats.image_structure import (
    JPEG_START,
    PNG_SIGNATURE,
    RIFF,
    JpegStructure,
    jpeg_structure,
    png_chunks,
    webp_chunks,
)
from graphs.requests.formats.tiff import first_page, is_tiff
from graphs.requests.simple_images import BMP_START, GIF_STARTS, bmp_size, gif_size, has_bmp_pixels

Format = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP", "HEIC", "AVIF", "TIFF"]

# Pillow stores RGB in 4 bytes, and the converted or turned image stands beside the first one.
TWO_IMAGES = 8
# libwebp's animation decoder, the only one that Pillow uses, holds two canvases, and the frame is copied twice.
_WEBP = 16
_BLOCK = 8  # pixels, the side of a block of a JPEG


@dataclass(frozen=True)
class PictureFacts:
    """Format, size, the bytes that the pixels take while they are decoded, and whether the file has its end.

    ``decoder`` is what a process of its own may take that decodes the picture, None where this one does. The size is
    then that of the upright picture, and ``profile`` its ICC profile.
    """

    format: Format
    width: int
    height: int
    pixels_bytes: float
    has_end: bool
    decoder: DecoderLimits | None = None
    profile: bytes | None = None


def facts_of(content: bytes) -> PictureFacts | None:
    """Return what a file says of itself, None if it is of no format that is read. Raises TooManyParts."""
    return next((read(content) for starts, read in _READERS if starts(content)), None)


def _png(content: bytes) -> PictureFacts | None:
    """Read the size of a PNG, which its first chunk begins with, and count its chunks."""
    names = [part.name for part in png_chunks(content)]
    if names[:1] != [b"IHDR"]:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return PictureFacts("PNG", width, height, width * height * TWO_IMAGES, names[-1] == b"IEND")


def _jpeg(content: bytes) -> PictureFacts | None:
    found = jpeg_structure(content)
    if found.frame is None:
        return None
    return PictureFacts("JPEG", found.frame.width, found.frame.height, _jpeg_bytes(found), found.has_end)


def _jpeg_bytes(found: JpegStructure) -> float:
    """Return the bytes for a JPEG's pixels. With several scans, libjpeg holds 2 bytes for each coefficient as well."""
    frame = found.frame
    if frame is None:
        return 0
    pixels = frame.width * frame.height
    if not frame.sampling or not (frame.is_progressive or found.scans > 1):
        return pixels * TWO_IMAGES
    most_across = max(1, *(across for across, _ in frame.sampling))
    most_down = max(1, *(down for _, down in frame.sampling))
    width, height = (
        math.ceil(side / (_BLOCK * most)) * _BLOCK * most
        for side, most in ((frame.width, most_across), (frame.height, most_down))
    )
    samples = sum(across * down for across, down in frame.sampling) / (most_across * most_down)
    return max(pixels * TWO_IMAGES, pixels * TWO_IMAGES / 2 + 2 * width * height * samples)


def _webp(content: bytes) -> PictureFacts | None:
    """Read the size of a WebP (RFC 9649, section 2.7, 3.4; RFC 6386, section 9.1), and count its chunks."""
    parts = list(webp_chunks(content))
    if not parts:
        return None
    first = parts[0]
    data = content[first.data][:10]
    if first.name == b"VP8X" and len(data) == 10:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (4, 7))
    elif first.name == b"VP8L" and len(data) >= 5:
        bits = int.from_bytes(data[1:5], "little")
        width, height = ((bits >> shift & 0x3FFF) + 1 for shift in (0, 14))
    elif first.name == b"VP8 " and len(data) == 10:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        return None
    has_end = len(content) >= 8 + int.from_bytes(content[4:8], "little")
    return PictureFacts("WEBP", width, height, width * height * _WEBP, has_end)


def _gif(content: bytes) -> PictureFacts | None:
    size = gif_size(content)
    # Bytes may stand behind the trailer, which is then not found; they say nothing of a cut.
    return None if size is None else PictureFacts("GIF", *size, size[0] * size[1] * TWO_IMAGES, content.endswith(b";"))


def _bmp(content: bytes) -> PictureFacts | None:
    size = bmp_size(content)
    if size is None:
        return None
    return PictureFacts("BMP", *size, size[0] * size[1] * TWO_IMAGES, has_bmp_pixels(content))


def _heif(content: bytes) -> PictureFacts | None:
    found = heif_facts(content)
    if found is None:
        return None
    limits = limits_for(content, found.width * found.height, found.decoder_bytes)
    return _apart(found.format, (found.width, found.height), limits, found.has_end, found.profile)


def _tiff(content: bytes) -> PictureFacts | None:
    page = first_page(content)
    if page is None or page.misfit is not None:
        return None
    limits = limits_for(content, math.prod(page.size), page.decoder_bytes)
    return _apart("TIFF", page.upright_size, limits, page.has_end, page.profile)


def _apart(
    kind: Format, size: tuple[int, int], decoder: DecoderLimits, has_end: bool, profile: bytes | None
) -> PictureFacts:
    """Return the facts of a picture that another process decodes, and of which this one holds an image meanwhile."""
    pixels = math.prod(size)
    pixels_bytes = max(pixels * TWO_IMAGES, decoder.memory_bytes + PROCESS_BYTES + pixels * TWO_IMAGES / 2)
    return PictureFacts(kind, *size, pixels_bytes, has_end, decoder, profile)


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], PictureFacts | None]], ...] = (
    (lambda content: content.startswith(PNG_SIGNATURE), _png),
    (lambda content: content.startswith(JPEG_START), _jpeg),
    (lambda content: content.startswith(RIFF) and content[8:12] == b"WEBP", _webp),
    (lambda content: content.startswith(GIF_STARTS), _gif),
    (lambda content: content.startswith(BMP_START), _bmp),
    (is_heif, _heif),
    (is_tiff, _tiff),
)
