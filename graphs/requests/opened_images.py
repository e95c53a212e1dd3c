"""Opens input images with Pillow, finds out whether they are whole, and divides them into strips."""

import hashlib
import io
from collections.abc import Iterator

from PIL import Image

from graphs.requests.formats.decoding import decoded_apart
from graphs.requests.formats.tiff import still_tiff
from graphs.requests.image_colour import png_profile
from graphs.requests.image_headers import ImageHeader, incomplete, unreadable
from graphs.requests.simple_images import still_gif
from graphs.requests.still_images import still_jpeg, still_png

_STRIP_PIXELS = 2**18
_JPEG_EOI = b"\xff\xd9"
# These bits are no run of equal ones, so that any Huffman tables make other pixels of them than of none. Restart
# markers stand among them, as data at the place of one are passed over.
_DATA = bytes.fromhex("5a3c96e1") * 16
_MORE_DATA = b"".join(_DATA + bytes((0xFF, 0xD0 + number)) for number in range(8)) + _DATA


def decode_image(header: ImageHeader) -> Image.Image:
    """Return the decoded and upright image of a format that a process of its own decodes.

    Raises DecoderFailed, and InvalidImage if data are missing.
    """
    if header.decoder is None:
        raise ValueError(f"{header.format} is decoded in this process")
    if not header.has_end:
        raise incomplete(header.param)
    content = still_tiff(header.content) if header.format == "TIFF" else header.content
    return decoded_apart(content, header.format, header.decoder, (header.width, header.height))


def open_image(header: ImageHeader, end: bytes = _JPEG_EOI) -> Image.Image:
    """Open the image without what its pixels do not need; ``end`` stands behind a JPEG that has no end.

    Raises what Pillow raises, and InvalidImage if the file has another size than the one that was judged.
    """
    content = header.content
    if header.format == "PNG":
        content = still_png(content)
    elif header.format == "JPEG":
        # A single 0xFF at the end is half a marker.
        content = still_jpeg(content if header.has_end else content.rstrip(b"\xff") + end)
    elif header.format == "GIF":
        content = still_gif(content) or content
    opened = Image.open(io.BytesIO(content), formats=(header.format,))
    if opened.size != (header.width, header.height):
        raise unreadable(header.param)  # a file with two headers, of which the first one was judged
    return opened


def check_whole(header: ImageHeader) -> None:
    """Refuse a JPEG that lacks more than its end. libjpeg makes up what is missing, and Pillow does not say so.

    If nothing is missing, data behind it change no pixel. A progressive JPEG that was cut exactly between two scans is
    taken as whole: it has all its pixels, only coarser. Raises InvalidImage.
    """
    if header.format != "JPEG" or header.has_end:
        return
    if _digest(header, _JPEG_EOI) != _digest(header, _MORE_DATA + _JPEG_EOI):
        raise incomplete(header.param)


def _digest(header: ImageHeader, end: bytes) -> bytes:
    digest = hashlib.blake2b()
    with open_image(header, end) as image:
        for box in strips(image):
            digest.update(image.crop(box).tobytes())
    return digest.digest()


def profile_of(header: ImageHeader, opened: Image.Image) -> bytes | None:
    """Return the ICC profile that an image carries, None if it has none."""
    if header.decoder is not None:
        return header.profile
    return png_profile(header.content) if header.format == "PNG" else opened.info.get("icc_profile")


def strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes (left, top, right, bottom) of an image's strips, from the top to the bottom."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)
