"""Judges the images that clients send by their headers, before any of them is decoded.

The format is detected from the content; file names and content types from clients are ignored. What is judged: the
number of pixels, how long one side is beside the other, the number of parts, and the memory that decoding takes.
"""

import math
from dataclasses import dataclass
from importlib.util import find_spec

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.requests.formats.decoding import DecoderLimits
from graphs.requests.formats.facts import Format, facts_of
from graphs.requests.formats.heif import is_cut, is_heif
from graphs.requests.formats.image_structure import TooManyParts
from graphs.requests.formats.tiff import first_page, is_tiff
from graphs.requests.image_kinds import kind_of

HAS_HEIC_DECODER = find_spec("pi_heif") is not None
READ = "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF and HEIC are read."
_PNG_OF_RGB = 3.5  # the encoded image, while its mask is decoded: 3 bytes a pixel if nothing can be compressed
_COPIES = 2  # of the file itself
_STRIPS = 8 * 2**20  # what the conversion of one strip takes, and Pillow's buffers


@dataclass(frozen=True)
class ImageLimits:
    """What an input image may have: pixels, the ratio of its sides, and bytes of memory while it is decoded."""

    max_pixels: int
    max_side_ratio: float
    max_decoding_bytes: int


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an encoded image says: its format, its size as stored, and what decoding it takes at most.

    ``has_end`` is whether the file has what its format ends with. ``decoder`` is what a process of its own may take
    that decodes the picture, None where this one does; the size is then that of the upright picture, and ``profile``
    its ICC profile.
    """

    param: str
    content: bytes
    format: Format
    width: int
    height: int
    decoding_bytes: int
    has_end: bool
    decoder: DecoderLimits | None
    profile: bytes | None


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
    reason = f"{param} is no image that can be read{why}. {READ}"
    return InvalidImage(reason, param=param, code="invalid_image_format")


def incomplete(param: str) -> InvalidImage:
    """Return the error of an image whose file ends before its pixels do."""
    reason = f"{param} is incomplete: the file ends before the picture does. Send the whole file."
    return InvalidImage(reason, param=param, code="invalid_image_format")


def _unknown(content: bytes, param: str) -> InvalidImage:
    if is_heif(content) and is_cut(content):
        return incomplete(param)
    kind = kind_of(content)
    if is_tiff(content):
        page = first_page(content)
        if page is None:
            return incomplete(param)
        kind = page.misfit
    if kind is None:
        return unreadable(param)
    reason = f"{param} is {kind}, which is not read here. {READ}"
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
        facts = facts_of(content)
    except TooManyParts as error:
        reason = f"{param} has {error}, which takes too long to read; save it anew with another program."
        raise InvalidImage(reason, param=param, code="invalid_image_format") from error
    if facts is None:
        raise _unknown(content, param)
    if not facts.width or not facts.height:
        raise unreadable(param)
    if facts.format == "HEIC" and not HAS_HEIC_DECODER:
        reason = f"{param} is HEIC, and this server lacks the decoder (the package pi-heif). Send it as JPEG or PNG."
        raise InvalidImage(reason, param=param, code="invalid_image_format")
    decoding_bytes = math.ceil(facts.pixels_bytes) + _COPIES * len(content) + _STRIPS
    return ImageHeader(
        param,
        content,
        facts.format,
        facts.width,
        facts.height,
        decoding_bytes,
        facts.has_end,
        facts.decoder,
        facts.profile,
    )


def _mib(size_bytes: int) -> int:
    return math.ceil(size_bytes / 2**20)
