"""Leaves out of PNG and JPEG files what their pixels do not need, before they are decoded.

Editors store whole work flows in their pictures. Pillow reads such texts into memory, and refuses a good picture
because of a long one.
"""

import zlib

from graphs.requests.formats.image_structure import (
    JPEG_ALONE,
    JPEG_END,
    JPEG_SCAN,
    PNG_SIGNATURE,
    Part,
    next_marker,
    png_chunks,
)

# What the pixels need. Texts, times, the frames of an animation and the profile (image_colour.py) are left out.
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
# The texts that say which way is up.
_PNG_ORIENTATIONS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
# A longer text, also once unpacked, says nothing of the orientation; Pillow refuses an image for it.
_MOST_TEXT_BYTES = 2**19
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_APP0 = 0xE0
_EXIF = 0xE1
_ICC = 0xE2
_ADOBE = 0xEE
_COMMENT = 0xFE
_APP = range(0xE0, 0xF0)


def still_png(content: bytes) -> bytes:
    """Return a PNG with what its pixels need: without texts and further frames, which Pillow would keep in memory.

    What says which way is up comes first, so that it is known before the pixels are decoded.
    """
    first: list[bytes] = []
    kept: list[bytes] = []
    found: set[bytes] = set()
    part = None
    for part in png_chunks(content):
        orientation = _orientation_of(part, content)
        if orientation and orientation not in found:
            found.add(orientation)
            first.append(content[part.start : part.end])
        elif part.name in _PNG_KEPT:
            kept.append(content[part.start : part.end])
    # The last data may lack their end: what follows them would be read as pixels.
    end = _PNG_END if part is not None and part.end <= len(content) and part.name != b"IEND" else b""
    return b"".join((PNG_SIGNATURE, *kept[:1], *first, *kept[1:], end))


def still_jpeg(content: bytes) -> bytes:
    """Return a JPEG with what its pixels need: without comments and what programs store before the first scan.

    Kept are the first EXIF data (which way is up), the profile, and what says which colours the components are.
    """
    kept: list[bytes] = []
    at = 0
    has_exif = False
    while (found := next_marker(content, at)) is not None and (kind := found[1][0]) not in (JPEG_SCAN, JPEG_END):
        at = found.end()
        if kind not in JPEG_ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
        data = content[found.end() + 2 : found.end() + 16]
        is_exif = kind == _EXIF and data.startswith(b"Exif\0") and not has_exif
        has_exif = has_exif or is_exif
        is_profile = kind == _ICC and data.startswith(b"ICC_PROFILE\0")
        if is_exif or is_profile or kind in (_APP0, _ADOBE) or (kind not in _APP and kind != _COMMENT):
            kept.append(content[found.start() : at])
    return b"".join(kept) + (b"" if found is None else content[found.start() :])


def _orientation_of(part: Part, content: bytes) -> bytes | None:
    """Return under what name a chunk of a PNG says which way is up, None if it does not."""
    if part.name == b"eXIf":
        return part.name
    if part.name not in _PNG_TEXTS:
        return None
    begin = part.data.start
    keyword = next((keyword for keyword in _PNG_ORIENTATIONS if content.startswith(keyword, begin)), None)
    return keyword if keyword is not None and _is_short(part.name, content[part.data]) else None


def _is_short(name: bytes, text: bytes) -> bool:
    """Return whether a text is short, also once unpacked (the PNG specification, sections 11.3.3.3 and 11.3.3.4)."""
    _, _, rest = text.partition(b"\0")
    is_packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] != b"\0")
    packed = rest[1:] if name == b"zTXt" else rest[2:].split(b"\0", 2)[-1]
    if not is_packed:
        return len(text) <= _MOST_TEXT_BYTES
    try:
        return len(zlib.decompressobj().decompress(packed, _MOST_TEXT_BYTES + 1)) <= _MOST_TEXT_BYTES
    except zlib.error:
        return False
