"""What HEIC and AVIF files say of their primary picture: its upright size, its colours, and what decoding it takes.

The properties are those of ISO 23008-12, section 6.5 (ispe, irot, clap), ISO 14496-12, section 12.1.5 (colr), ISO
14496-15, section 8.3.3.1 (hvcC), and AV1-ISOBMFF, section 2.3 (av1C).
"""

from dataclasses import dataclass
from typing import Literal

from graphs.requests.formats.boxes import Box, Item, Items, Reader, boxes, items_of
from graphs.requests.formats.colour_codes import profile_of_codes
from graphs.requests.image_colour import MOST_PROFILE_BYTES

Coding = Literal["HEIC", "AVIF"]

_CODED: dict[bytes, Coding] = {b"hvc1": "HEIC", b"hev1": "HEIC", b"av01": "AVIF"}
_MADE_OF_OTHERS = {b"grid", b"iden"}
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
_PLANES_BYTES = {0: 1.0, 1: 1.5, 2: 2.0, 3: 3.0}
"""By chroma format: none, 4:2:0, 4:2:2, 4:4:4; for each pixel of 8 bits."""
# The decoded planes stand beside the turned or composed ones, and these beside the RGB or RGBA bytes; of AVIF there are
# two of these, and Pillow's image takes the place of one of them.
_COPIES_OF_PLANES = 2
_RESULT_BYTES = {"HEIC": 4, "AVIF": 8}


@dataclass(frozen=True)
class HeifFacts:
    """The coding, the upright size, the bytes that its decoder takes, the ICC profile, and whether it is all there."""

    format: Coding
    width: int
    height: int
    decoder_bytes: float
    has_end: bool
    profile: bytes | None


def is_heif(content: bytes) -> bool:
    """Return whether a file begins as HEIC, AVIF, and also MP4 and QuickTime do."""
    return content[4:8] == b"ftyp"


def is_cut(content: bytes) -> bool:
    """Return whether the last box of a file goes beyond its end."""
    end = max((box.end for box in boxes(content, 0, len(content))), default=len(content) + 1)
    return end > len(content)


def heif_facts(content: bytes) -> HeifFacts | None:
    """Return what a file says of its primary picture, None if it has none that is read. Raises TooManyParts."""
    meta = next((box for box in boxes(content, 0, len(content)) if box.name == b"meta"), None)
    if meta is None:
        return None
    items = items_of(content, meta)
    primary = items.items.get(items.primary)
    if primary is None:
        return None
    parts = _parts(items, items.primary)
    kinds = {_CODED[part.type] for part in parts if part.type in _CODED}
    size = _upright_size(content, primary)
    if len(kinds) != 1 or size is None or primary.type not in (*_CODED, *_MADE_OF_OTHERS):
        return None
    (kind,) = kinds
    alpha = _alpha(content, items)
    return HeifFacts(
        kind,
        *size,
        _pixels(content, primary, parts) * (_COPIES_OF_PLANES * _planes(content, parts, alpha) + _RESULT_BYTES[kind]),
        all(part.end <= len(content) for part in (primary, *parts, *alpha)),
        _profile(content, primary) or _profile(content, parts[0]),
    )


def _parts(items: Items, number: int) -> list[Item]:
    """Return the coded items that a picture is made of: its tiles, or itself."""
    found = [number]
    for _ in range(2):  # an identity of a grid
        found = [target for one in found for target in items.references.get((b"dimg", one), [one])]
    return [items.items[one] for one in found if one in items.items]


def _alpha(content: bytes, items: Items) -> list[Item]:
    """Return the items that say how transparent the primary one is."""
    found = [
        source for (kind, source), targets in items.references.items() if kind == b"auxl" and items.primary in targets
    ]
    return [
        part
        for source in found
        if source in items.items
        for kind in [_property(items.items[source], b"auxC")]
        if kind is not None and content.startswith(_ALPHA, kind.start + 4)
        for part in (items.items[source], *_parts(items, source))
    ]


def _upright_size(content: bytes, item: Item) -> tuple[int, int] | None:
    """Return an item's size after its properties have cropped and turned it in their order."""
    size = _size(content, item)
    if size is None:
        return None
    for found in item.properties:
        reader = Reader(content, found.start)
        if found.name == b"irot" and reader.number(1) & 1:
            size = size[1], size[0]
        elif found.name == b"clap" and item.type != b"av01":  # AVIF's decoder does not crop
            numbers = [reader.number(4) for _ in range(4)]
            size = numbers[0] // max(1, numbers[1]), numbers[2] // max(1, numbers[3])
    return size


def _size(content: bytes, item: Item) -> tuple[int, int] | None:
    found = _property(item, b"ispe")
    if found is None:
        return None
    reader = Reader(content, found.start + 4)
    return reader.number(4), reader.number(4)


def _pixels(content: bytes, primary: Item, parts: list[Item]) -> int:
    """Return the number of pixels that are decoded: of the whole picture or, if they are more, of its tiles."""
    sizes = [size for one in parts if (size := _size(content, one)) is not None]
    whole = _size(content, primary) or (0, 0)
    return max(whole[0] * whole[1], sum(width * height for width, height in sizes))


def _planes(content: bytes, parts: list[Item], alpha: list[Item]) -> float:
    """Return the bytes of a pixel's planes."""
    coded = max(_planes_bytes(content, part) for part in parts)
    return coded + (max(_planes_bytes(content, part) for part in alpha) if alpha else 0)


def _planes_bytes(content: bytes, part: Item) -> float:
    """Return the bytes of a pixel as it is coded; 4:4:4 in 16 bits if that is not said."""
    coded = _property(part, b"hvcC")
    if coded is not None:
        chroma = Reader(content, coded.start + 16).number(1) & 3
        deep = Reader(content, coded.start + 17).number(1) & 7
        return _PLANES_BYTES[chroma] * (2 if deep else 1)
    coded = _property(part, b"av1C")
    if coded is not None:
        flags = Reader(content, coded.start + 2).number(1)
        chroma = 0 if flags & 0x10 else {0b11: 1, 0b10: 2}.get(flags >> 2 & 3, 3)
        return _PLANES_BYTES[chroma] * (2 if flags & 0x40 else 1)
    return _PLANES_BYTES[3] * 2


def _profile(content: bytes, item: Item) -> bytes | None:
    """Return the ICC profile of an item, or that of its codes of colours, None if it is sRGB or not said."""
    codes = None
    for found in item.properties:
        if found.name == b"colr":
            kind = content[found.start : found.start + 4]
            if kind in (b"prof", b"rICC") and found.end - found.start <= MOST_PROFILE_BYTES:
                return content[found.start + 4 : found.end]
            if kind == b"nclx":
                reader = Reader(content, found.start + 4)
                codes = reader.number(2), reader.number(2)
    return None if codes is None else profile_of_codes(*codes)


def _property(item: Item, name: bytes) -> Box | None:
    return next((found for found in item.properties if found.name == name), None)
