"""Writes HEIC and AVIF files (ISO 14496-12, 23008-12) from coded pictures: with tiles, turned, or with another size."""

import struct
from dataclasses import dataclass, field

from graphs.requests.formats.boxes import boxes, items_of


@dataclass
class Picture:
    """An item of a file: its type, its data, and its properties as whole boxes."""

    type: bytes
    data: bytes
    properties: list[bytes] = field(default_factory=list)


def box(name: bytes, *data: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, data))) + name + b"".join(data)


def full_box(name: bytes, version: int, *data: bytes) -> bytes:
    return box(name, struct.pack(">I", version << 24), *data)


def size_property(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, struct.pack(">II", width, height))


def coded_picture(content: bytes) -> Picture:
    """Return the primary picture of a file whose coded data are all that its last box holds."""
    top = list(boxes(content, 0, len(content)))
    meta = next(one for one in top if one.name == b"meta")
    items = items_of(content, meta)
    primary = items.items[items.primary]
    properties = [content[one.start - 8 : one.end] for one in primary.properties]
    return Picture(primary.type, content[top[-1].start : top[-1].end], properties)


def with_size(picture: Picture, width: int, height: int) -> Picture:
    """Return the picture with another stated size, not cropped."""
    kept = [one for one in picture.properties if one[4:8] not in (b"ispe", b"clap")]
    return Picture(picture.type, picture.data, [size_property(width, height), *kept])


def grid(rows: int, columns: int, width: int, height: int) -> Picture:
    """Return the item that puts tiles together."""
    return Picture(
        b"grid", struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height), [size_property(width, height)]
    )


def heif_file(pictures: list[Picture], references: list[tuple[bytes, int, list[int]]] | None = None) -> bytes:
    """Return a file with these pictures, of which the first one is the primary one; they are numbered from 1.

    ``references``: kind, from which picture, to which ones. Equal data stand in the file once.
    """
    brand = b"avif" if any(one.type == b"av01" for one in pictures) else b"heic"
    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    meta_bytes = len(_meta(pictures, references or [], [0] * len(pictures)))
    places: dict[bytes, int] = {}
    data = b""
    for one in pictures:
        if one.data not in places:
            places[one.data] = len(head) + meta_bytes + 8 + len(data)
            data += one.data
    return head + _meta(pictures, references or [], [places[one.data] for one in pictures]) + box(b"mdat", data)


def _meta(pictures: list[Picture], references: list[tuple[bytes, int, list[int]]], places: list[int]) -> bytes:
    numbered = list(enumerate(pictures, 1))
    entries = b"".join(full_box(b"infe", 2, struct.pack(">HH", number, 0), one.type, b"\0") for number, one in numbered)
    extents = b"".join(
        struct.pack(">HHHII", number, 0, 1, place, len(one.data))
        for (number, one), place in zip(numbered, places, strict=True)
    )
    kinds = b"".join(box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references)
    known = list(dict.fromkeys(one for picture in pictures for one in picture.properties))
    associations = b"".join(
        struct.pack(">HB", number, len(one.properties))
        + bytes(known.index(found) + 1 | _essential(found) for found in one.properties)
        for number, one in numbered
    )
    return full_box(
        b"meta",
        0,
        full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", 0, struct.pack(">H", 1)),
        full_box(b"iloc", 0, struct.pack(">HH", 0x4400, len(pictures)), extents),
        full_box(b"iinf", 0, struct.pack(">H", len(pictures)), entries),
        full_box(b"iref", 0, kinds) if references else b"",
        box(b"iprp", box(b"ipco", *known), full_box(b"ipma", 0, struct.pack(">I", len(pictures)), associations)),
    )


def _essential(found: bytes) -> int:
    """Return the flag of what a reader must know: libavif refuses a file that says otherwise."""
    return 0x80 if found[4:8] in (b"irot", b"imir", b"clap", b"av1C", b"hvcC") else 0
