"""What a TIFF file says of its first page, and the file with what the page's pixels need.

The structure, the tags and the compressions are those of TIFF 6.0 (sections 2, 8, 9, 14, 15 and 18) and of its
Technical Note 2 (JPEG).
"""

import math
import struct
from dataclasses import dataclass
from functools import cached_property

from graphs.requests.formats.image_structure import MOST_PARTS, TooManyParts
from graphs.requests.image_colour import MOST_PROFILE_BYTES

TIFF_STARTS = {b"II*\0": "<", b"MM\0*": ">"}
_MOST_TAGS = 4096
_NUMBERS = {1: "B", 3: "H", 4: "I"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}

_SUBFILE = 254
_WIDTH = 256
_HEIGHT = 257
_BITS = 258
_COMPRESSION = 259
_ORIENTATION = 274
_SAMPLES = 277
_PHOTOMETRIC = 262
_OTHER_COLOURS = {8, 9, 10}  # CIELab, ICCLab, ITULab
_STRIPS = (273, 279)  # where they begin, and how long they are
_TILES = (324, 325)
_TILE_WIDTH = 322
_TILE_HEIGHT = 323
_SAMPLE_FORMAT = 339
_PROFILE = 34675
_DNG_VERSION = 50706
# What the pixels need; texts, EXIF, Photoshop's layers and further pages are left out.
_KEPT = {*range(256, 260), 262, 266, 273, 274, *range(277, 280), 284, 317, 320, *range(322, 326), 338, 339, 347}
_KEPT |= {*range(529, 533)}
# None, LZW, JPEG, Deflate under two numbers, PackBits. Others (faxes, old JPEG, LZMA, WebP, Zstandard) are rare.
_COMPRESSIONS = {1, 5, 7, 8, 32946, 32773}
_ON_THEIR_SIDE = {5, 6, 7, 8}
_REDUCED = 1  # of a subfile: a raw image begins with a small copy of itself
_WHOLE_NUMBERS = {1, 4}  # sample formats: unsigned, undefined
# Pillow's image, which stands beside the turned one; and the page as it is stored, which may be a single strip.
_IMAGE_BYTES = 4


@dataclass(frozen=True)
class TiffPage:
    """The tags of a TIFF's first page: by number, the type, the count, and where the values stand."""

    content: bytes
    order: str
    tags: dict[int, tuple[int, int, int]]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Return width and height as they are stored."""
        return self._number(_WIDTH, 0), self._number(_HEIGHT, 0)

    @cached_property
    def upright_size(self) -> tuple[int, int]:
        """Return width and height of the upright page."""
        width, height = self.size
        return (height, width) if self._number(_ORIENTATION, 1) in _ON_THEIR_SIDE else (width, height)

    @property
    def decoder_bytes(self) -> float:
        """Return what decoding takes: of the page or, if they are larger, of a tile."""
        pixels = max(math.prod(self.size), self._number(_TILE_WIDTH, 0) * self._number(_TILE_HEIGHT, 0))
        stored = self._number(_SAMPLES, 1) * max(self.numbers(_BITS), default=1) / 8
        images = 1 if self._number(_ORIENTATION, 1) == 1 else 2
        return pixels * (stored + images * _IMAGE_BYTES)

    @property
    def has_end(self) -> bool:
        """Return whether all strips or tiles are in the file, and the values of the tags that the pixels need."""
        if any(
            place + count * _TYPE_BYTES.get(kind, 1) > len(self.content)
            for tag, (kind, count, place) in self.tags.items()
            if tag in _KEPT
        ):
            return False
        starts, sizes = _TILES if _TILES[0] in self.tags else _STRIPS
        places = zip(self.numbers(starts), self.numbers(sizes), strict=False)
        return all(start + size <= len(self.content) for start, size in places)

    @property
    def profile(self) -> bytes | None:
        """Return the page's ICC profile."""
        _, count, place = self.tags.get(_PROFILE, (0, 0, 0))
        return self.content[place : place + count] if 0 < count <= MOST_PROFILE_BYTES else None

    @property
    def misfit(self) -> str | None:
        """Return what the page is where it is not read, in words with their article."""
        if _DNG_VERSION in self.tags or self.content[8:10] == b"CR" or self._number(_SUBFILE, 0) & _REDUCED:
            return "a raw image of a camera"
        if (compression := self._number(_COMPRESSION, 1)) not in _COMPRESSIONS:
            return f"a TIFF image of compression {compression}"
        if not _WHOLE_NUMBERS.issuperset(self.numbers(_SAMPLE_FORMAT)) or max(self.numbers(_BITS), default=1) > 16:
            return "a TIFF image of floating-point or large numbers"
        if self._number(_PHOTOMETRIC, 0) in _OTHER_COLOURS:
            return "a TIFF image in Lab colours"
        return None

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return a tag's values, none if it is not there or cut off. Raises TooManyParts."""
        kind, count, place = self.tags.get(tag, (0, 0, 0))
        if count > MOST_PARTS:
            raise TooManyParts(f"more than {MOST_PARTS} parts")
        if kind not in _NUMBERS or place + count * _TYPE_BYTES[kind] > len(self.content):
            return ()
        return struct.unpack_from(f"{self.order}{count}{_NUMBERS[kind]}", self.content, place)

    def _number(self, tag: int, default: int) -> int:
        return next(iter(self.numbers(tag)), default)


def is_tiff(content: bytes) -> bool:
    """Return whether a file begins as TIFF, and also raw images of cameras do."""
    return content[:4] in TIFF_STARTS


def first_page(content: bytes) -> TiffPage | None:
    """Return the first page of a TIFF, None if its tags are cut off. Raises TooManyParts."""
    order = TIFF_STARTS[content[:4]]
    at = int.from_bytes(content[4:8], "little" if order == "<" else "big")
    if at + 2 > len(content):
        return None
    (count,) = struct.unpack_from(f"{order}H", content, at)
    if count > _MOST_TAGS:
        raise TooManyParts(f"more than {_MOST_TAGS} parts")
    if at + 2 + 12 * count > len(content):
        return None
    tags: dict[int, tuple[int, int, int]] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values, place = struct.unpack_from(f"{order}HHII", content, entry)
        is_short = _TYPE_BYTES.get(kind, 1) * values <= 4
        tags.setdefault(tag, (kind, values, entry + 8 if is_short else place))
    return TiffPage(content, order, tags)


def still_tiff(content: bytes) -> bytes:
    """Return a TIFF with the tags of its first page that the pixels need; they stand at its end."""
    page = first_page(content)
    if page is None:
        return content
    entries = []
    for tag, (kind, count, place) in sorted(page.tags.items()):
        if tag in _KEPT:
            is_short = _TYPE_BYTES.get(kind, 1) * count <= 4
            value = content[place : place + 4] if is_short else struct.pack(f"{page.order}I", place)
            entries.append(struct.pack(f"{page.order}HHI", tag, kind, count) + value.ljust(4, b"\0"))
    padded = content + bytes(len(content) % 2)
    head = content[:4] + struct.pack(f"{page.order}I", len(padded))
    directory = struct.pack(f"{page.order}H", len(entries)) + b"".join(entries) + bytes(4)
    return b"".join((head, memoryview(padded)[8:], directory))
