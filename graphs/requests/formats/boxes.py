"""Walks over the boxes of HEIC and AVIF files, without decoding a pixel.

The structure is that of ISO 14496-12 (section 4.2, boxes; 8.11, the meta box and its items) and ISO 23008-12 (section
6.5, properties of items; 6.6, pictures made of others).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphs.requests.formats.image_structure import MOST_PARTS, TooManyParts

# A photograph of 48 megapixels has some 200 tiles.
_MOST_ITEMS = 2000
_LARGE = 1  # instead of a size: it stands behind the name, in 8 bytes
_TO_THE_END = 0


@dataclass(frozen=True)
class Box:
    """A box: its name, where its data begin, and where they end as stated, which may be beyond the file."""

    name: bytes
    start: int
    end: int


@dataclass
class Item:
    """An item of a meta box: its type, its properties in their order, and where the last byte of its data stands."""

    type: bytes = b""
    properties: list[Box] = field(default_factory=list)
    end: int = 0


@dataclass
class Items:
    """The items of a meta box by their number, the primary one, and by (kind, from) the items that one refers to."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    _entries: int = 0

    def count(self) -> None:
        """Count an entry of a table. Raises TooManyParts."""
        self._entries += 1
        if self._entries > MOST_PARTS:
            raise TooManyParts(f"more than {MOST_PARTS} parts")

    def item(self, number: int) -> Item:
        """Return the item, made where it is new. Raises TooManyParts."""
        if number not in self.items and len(self.items) >= _MOST_ITEMS:
            raise TooManyParts(f"more than {_MOST_ITEMS} parts")
        return self.items.setdefault(number, Item())


class Reader:
    """Reads big-endian numbers one after the other; behind the end of the data they are 0."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self.at = at

    def number(self, size_bytes: int) -> int:
        """Return the number in the next bytes."""
        found = self._content[self.at : self.at + size_bytes].ljust(size_bytes, b"\0")
        self.at += size_bytes
        return int.from_bytes(found, "big")


def boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two places. Raises TooManyParts."""
    count = 0
    while start + 8 <= min(end, len(content)):
        count += 1
        if count > MOST_PARTS:
            raise TooManyParts(f"more than {MOST_PARTS} parts")
        reader = Reader(content, start)
        size_bytes = reader.number(4)
        name = content[start + 4 : start + 8]
        reader.at += 4
        if size_bytes == _LARGE:
            size_bytes = reader.number(8)
        elif size_bytes == _TO_THE_END:
            size_bytes = end - start
        if size_bytes < reader.at - start:
            return
        yield Box(name, reader.at, start + size_bytes)
        start += size_bytes


def inner(content: bytes, box: Box, name: bytes) -> Box | None:
    """Return the first box of this name within another one, None if there is none. Raises TooManyParts."""
    return next((one for one in boxes(content, box.start, box.end) if one.name == name), None)


def items_of(content: bytes, meta: Box) -> Items:
    """Read the items of a meta box. Raises TooManyParts."""
    found = Items()
    parts = {box.name: box for box in boxes(content, meta.start + 4, meta.end)}
    for name, read in ((b"pitm", _primary), (b"iinf", _types), (b"iloc", _places), (b"iref", _references)):
        if name in parts:
            read(content, parts[name], found)
    if b"iprp" in parts:
        _properties(content, parts[b"iprp"], found)
    return found


def _primary(content: bytes, box: Box, found: Items) -> None:
    found.primary = Reader(content, box.start + 4).number(4 if _version(content, box) else 2)


def _types(content: bytes, box: Box, found: Items) -> None:
    entries = box.start + (8 if _version(content, box) else 6)
    for entry in boxes(content, entries, box.end):
        version = _version(content, entry)
        if entry.name == b"infe" and version in (2, 3):
            reader = Reader(content, entry.start + 4)
            number = reader.number(2 if version == 2 else 4)
            found.item(number).type = content[reader.at + 2 : reader.at + 6]


def _places(content: bytes, box: Box, found: Items) -> None:
    """Read where each item's data end: an item has several extents, each with a place and a length."""
    version = _version(content, box)
    reader = Reader(content, box.start + 4)
    sizes = reader.number(2)
    place, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    count = reader.number(2 if version < 2 else 4)
    for _ in range(min(count, _MOST_ITEMS)):
        item = found.item(reader.number(2 if version < 2 else 4))
        in_file = version == 0 or reader.number(2) & 15 == 0
        reader.at += 2
        begin = reader.number(base)
        for _ in range(reader.number(2)):
            found.count()
            reader.at += index if version else 0
            end = begin + reader.number(place) + reader.number(length)
            item.end = max(item.end, end if in_file else 0)


def _references(content: bytes, box: Box, found: Items) -> None:
    size_bytes = 4 if _version(content, box) else 2
    for kind in boxes(content, box.start + 4, box.end):
        reader = Reader(content, kind.start)
        targets = found.references.setdefault((kind.name, reader.number(size_bytes)), [])
        for _ in range(reader.number(2)):
            found.count()
            targets.append(reader.number(size_bytes))


def _properties(content: bytes, box: Box, found: Items) -> None:
    """Give each item its properties: ipco holds them, and ipma says for each item which of them are its own."""
    container = inner(content, box, b"ipco")
    known = [] if container is None else list(boxes(content, container.start, container.end))
    for associations in boxes(content, box.start, box.end):
        if associations.name != b"ipma":
            continue
        reader = Reader(content, associations.start)
        version = reader.number(1)
        flags = reader.number(3)
        size_bytes = 2 if flags & 1 else 1
        for _ in range(min(reader.number(4), _MOST_ITEMS)):
            item = found.item(reader.number(4 if version else 2))
            found.count()
            for _ in range(reader.number(1)):
                found.count()
                index = reader.number(size_bytes) & (0x7FFF if flags & 1 else 0x7F)
                if 0 < index <= len(known):
                    item.properties.append(known[index - 1])


def _version(content: bytes, box: Box) -> int:
    return Reader(content, box.start).number(1)
