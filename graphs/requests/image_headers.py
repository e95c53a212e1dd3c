"""Judges the images that clients send by their headers, before any of them is decoded.

The format is detected from the content; file names and content types from clients are ignored. What is judged: the
number of pixels, how long one side is beside the other, the number of parts, and the memory that decoding takes.
"""

import math
from dataclasses import dataclass
from typing import Literal

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.requests.image_kinds import kind_of
from graphs.requests.image_structure import (
    JPEG_START,
    PNG_SIGNATURE,
    RIFF,
    JpegFrame,
    TooManyParts,
    jpeg_frame,
    png_chunks,
    webp_chunks,
)
from graphs.requests.simple_images import BMP_START, GIF_STARTS, bmp_size, gif_size

Format = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP"]

# Bytes for each pixel while an image is decoded, measured (docs/measurements.md, "Hostile pictures"). Pillow stores
# RGB in 4 bytes, and the converted or turned image stands beside the first one.
_TWO_IMAGES = 8
# libwebp's animation decoder, the only one that Pillow uses, holds two canvases, and the frame is copied twice.
_WEBP = 16
_PNG_OF_RGB = 3.5  # the encoded image, while its mask is decoded: 3 bytes a pixel if nothing can be compressed
_COPIES = 2  # of the file itself
_STRIPS = 8 * 2**20  # what the conversion of one strip takes, and Pillow's buffers
_BLOCK = 8  # pixels, the side of a block of a JPEG


@dataclass(frozen=True)
class ImageLimits:
    """What an input image may have: pixels, the ratio of its sides, and bytes of memory while it is decoded."""

    max_pixels: int
    max_side_ratio: float
    max_decoding_bytes: int


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an encoded image says: its format, its size as stored, and what decoding it takes at most."""

    param: str
    content: bytes
    format: Format
    width: int
    height: int
    decoding_bytes: int


@dataclass(frozen=True)
class InputHeaders:
    """The headers of an edit's image and, for inpainting, of its mask."""

    image: ImageHeader
    mask: ImageHeader | None

    @property
    def decoding_bytes(self) -> int:
        """Return how much memory decoding takes at most: one image after the other, and the first one as PNG."""
        if self.mask is None:
            return self.image.decoding_bytes
        encoded = math.ceil(self.image.width * self.image.height * _PNG_OF_RGB)
        return max(self.image.decoding_bytes, encoded + self.mask.decoding_bytes)


def read_headers(image: bytes, mask: bytes | None, limits: ImageLimits) -> InputHeaders:
    """Read the headers of an image and, if given, of a mask. Nothing is decoded.

    The limits hold for each. Raises InvalidImage or RequestTooLarge, which name ``image`` or ``mask``.
    """
    found = InputHeaders(
        _judged(image, "image", limits),
        None if mask is None else _judged(mask, "mask", limits),
    )
    if found.mask is not None and found.decoding_bytes > limits.max_decoding_bytes:
        raise RequestTooLarge(
            f"image and mask take up to {_mib(found.decoding_bytes)} MiB to decode; at most "
            f"{_mib(limits.max_decoding_bytes)} are allowed. Send them smaller.",
            param="mask",
            code="image_too_large",
        )
    return found


def unreadable(param: str, error: Exception | None = None) -> InvalidImage:
    """Return the error of a file that is no image, or a broken one."""
    why = "" if error is None else f" ({type(error).__name__})"
    reason = f"{param} is no PNG, JPEG, WebP, GIF or BMP image that can be read{why}."
    return InvalidImage(reason, param=param, code="invalid_image_format")


def incomplete(param: str) -> InvalidImage:
    """Return the error of an image whose file ends before its pixels do."""
    reason = f"{param} is incomplete: the file ends before the picture does. Send the whole file."
    return InvalidImage(reason, param=param, code="invalid_image_format")


def _unknown(content: bytes, param: str) -> InvalidImage:
    kind = kind_of(content)
    if kind is None:
        return unreadable(param)
    reason = f"{param} is {kind}, which is not read here; send a PNG, JPEG or WebP image."
    return InvalidImage(reason, param=param, code="invalid_image_format")


def _judged(content: bytes, param: str, limits: ImageLimits) -> ImageHeader:
    header = _read(content, param)
    size = f"{param} has {header.width}x{header.height} pixels"
    if header.width * header.height > limits.max_pixels:
        message = f"{size}; at most {limits.max_pixels} are accepted."
        raise RequestTooLarge(message, param=param, code="image_too_large")
    shorter, longer = sorted((header.width, header.height))
    if longer > shorter * limits.max_side_ratio:
        raise InvalidImage(
            f"{size}; a side may be at most {limits.max_side_ratio:g} times as long as the other.",
            param=param,
            code="invalid_image_ratio",
        )
    if header.decoding_bytes > limits.max_decoding_bytes:
        hint = "Send it smaller." if header.format == "PNG" else "Send it smaller, or as PNG."
        raise RequestTooLarge(
            f"{size}, and takes up to {_mib(header.decoding_bytes)} MiB to decode; at most "
            f"{_mib(limits.max_decoding_bytes)} are allowed. {hint}",
            param=param,
            code="image_too_large",
        )
    return header


def _read(content: bytes, param: str) -> ImageHeader:
    if not content:
        raise InvalidImage(f"{param} is an empty file.", param=param, code="empty_image_file")
    try:
        found = _of_any_format(content)
    except TooManyParts as error:
        reason = f"{param} has {error}, which takes too long to read; save it anew with another program."
        raise InvalidImage(reason, param=param, code="invalid_image_format") from error
    if found is None:
        raise _unknown(content, param)
    kind, width, height, pixels_bytes = found
    if not width or not height:
        raise unreadable(param)
    decoding_bytes = math.ceil(pixels_bytes) + _COPIES * len(content) + _STRIPS
    return ImageHeader(param, content, kind, width, height, decoding_bytes)


def _of_any_format(content: bytes) -> tuple[Format, int, int, float] | None:
    """Return format, width, height, and the bytes that the pixels take while they are decoded."""
    if content.startswith(PNG_SIGNATURE):
        return _png(content)
    if content.startswith(JPEG_START):
        frame, scans = jpeg_frame(content)
        return None if frame is None else ("JPEG", frame.width, frame.height, _jpeg_bytes(frame, scans))
    if content.startswith(RIFF) and content[8:12] == b"WEBP":
        return _webp(content)
    if content.startswith(GIF_STARTS):
        return _simple("GIF", gif_size(content))
    if content.startswith(BMP_START):
        return _simple("BMP", bmp_size(content))
    return None


def _simple(kind: Format, size: tuple[int, int] | None) -> tuple[Format, int, int, float] | None:
    return None if size is None else (kind, *size, size[0] * size[1] * _TWO_IMAGES)


def _png(content: bytes) -> tuple[Format, int, int, float] | None:
    """Read the size of a PNG, which its first chunk begins with, and count its chunks."""
    names = [part.name for part in png_chunks(content)]
    if names[:1] != [b"IHDR"]:
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return "PNG", width, height, width * height * _TWO_IMAGES


def _jpeg_bytes(frame: JpegFrame, scans: int) -> float:
    """Return the bytes for a JPEG's pixels. With several scans, libjpeg holds 2 bytes for each coefficient as well."""
    pixels = frame.width * frame.height
    if not frame.sampling or not (frame.is_progressive or scans > 1):
        return pixels * _TWO_IMAGES
    most_across = max(1, *(across for across, _ in frame.sampling))
    most_down = max(1, *(down for _, down in frame.sampling))
    width, height = (
        math.ceil(side / (_BLOCK * most)) * _BLOCK * most
        for side, most in ((frame.width, most_across), (frame.height, most_down))
    )
    samples = sum(across * down for across, down in frame.sampling) / (most_across * most_down)
    return max(pixels * _TWO_IMAGES, pixels * _TWO_IMAGES / 2 + 2 * width * height * samples)


def _webp(content: bytes) -> tuple[Format, int, int, float] | None:
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
    return "WEBP", width, height, width * height * _WEBP


def _mib(size_bytes: int) -> int:
    return math.ceil(size_bytes / 2**20)
