"""Reads the headers of GIF and BMP files, and leaves out of a GIF what stands before its first frame.

The formats are those of the GIF89a specification (sections 18 to 26) and of Microsoft's BITMAPINFOHEADER.
"""

from graphs.requests.formats.image_structure import MOST_PARTS, TooManyParts

GIF_STARTS = (b"GIF87a", b"GIF89a")
BMP_START = b"BM"
_EXTENSION = 0x21
_FRAME = 0x2C
_CONTROL = 0xF9  # says which colour is transparent
_CORE_HEADER_BYTES = 12
_INFO_HEADER_BYTES = 40
# Pixels as they are, and with masks of bits. Pillow decodes run lengths in Python, 1 to 2 million pixels a second.
_BMP_COMPRESSIONS = {0, 3}


def gif_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a GIF, None if it has no frame. Raises TooManyParts.

    A first frame that goes beyond the screen enlarges it, as it does in Pillow and in browsers.
    """
    found = _first_frame(content)
    if found is None or len(content) < found[1] + 9:
        return None
    at = found[1]
    left, top, width, height = (_number(content, at + place, 2) for place in (1, 3, 5, 7))
    return max(left + width, _number(content, 6, 2)), max(top + height, _number(content, 8, 2))


def still_gif(content: bytes) -> bytes | None:
    """Return a GIF without the extensions before its first frame but the last control, None if it has no frame.

    Pillow reads each block of a comment by itself, and adds it to the text before it. Raises TooManyParts.
    """
    found = _first_frame(content)
    if found is None:
        return None
    head, at, control = found
    return content[:head] + control + content[at:]


def _first_frame(content: bytes) -> tuple[int, int, bytes] | None:
    """Return where the screen's description ends, where the first frame begins, and the last control before it."""
    if len(content) < 13:
        return None
    flags = content[10]
    head = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    at = head
    control = b""
    blocks = 0
    while content[at : at + 1] == bytes((_EXTENSION,)):
        start = at
        at += 2
        while (length := int.from_bytes(content[at : at + 1], "little")) != 0:
            blocks += 1
            if blocks > MOST_PARTS:
                raise TooManyParts(f"more than {MOST_PARTS} parts")
            at += 1 + length
        at += 1
        if content[start + 1 : start + 2] == bytes((_CONTROL,)):
            control = content[start:at]
    if content[at : at + 1] != bytes((_FRAME,)):
        return None
    return head, at, control


def bmp_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a BMP, None if it is broken or its pixels are stored as run lengths."""
    header_bytes = _number(content, 14, 4)
    if len(content) < 14 + header_bytes:
        return None
    if header_bytes == _CORE_HEADER_BYTES:
        return _number(content, 18, 2), _number(content, 20, 2)
    if header_bytes < _INFO_HEADER_BYTES or _number(content, 30, 4) not in _BMP_COMPRESSIONS:
        return None
    # A negative height: the first row is the upper one.
    return _number(content, 18, 4), abs(int.from_bytes(content[22:26], "little", signed=True))


def has_bmp_pixels(content: bytes) -> bool:
    """Return whether a BMP is as long as its pixels take; many programs state another length of the file, or none."""
    size = bmp_size(content)
    if size is None:
        return len(content) >= _number(content, 2, 4)
    bits = _number(content, 24 if _number(content, 14, 4) == _CORE_HEADER_BYTES else 28, 2)
    row_bytes = (size[0] * bits + 31) // 32 * 4
    return len(content) >= _number(content, 10, 4) + row_bytes * size[1]


def _number(content: bytes, at: int, size_bytes: int) -> int:
    return int.from_bytes(content[at : at + size_bytes], "little")
