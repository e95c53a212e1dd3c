"""Reads the headers of GIF and BMP files, and leaves out of a GIF what stands before its first frame.

The formats are those of the GIF89a specification (sections 18 to 26) and of Microsoft's BITMAPINFOHEADER.
"""

from graphs.requests.image_structure import MOST_PARTS, TooManyParts

GIF_STARTS = (b"GIF87a", b"GIF89a")
BMP_START = b"BM"
_EXTENSION = 0x21
_FRAME = 0x2C
_CONTROL = 0xF9  # says which colour is transparent
_CORE_HEADER_BYTES = 12
# Pixels as they are, and with masks of bits. Pillow decodes run lengths in Python, 1 to 2 million pixels a second.
_BMP_COMPRESSIONS = {0, 3}


def gif_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a GIF's screen, None if it has no frame. Raises TooManyParts."""
    if still_gif(content) is None:
        return None
    return int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")


def still_gif(content: bytes) -> bytes | None:
    """Return a GIF without the extensions before its first frame but the last control, None if it has no frame.

    Pillow reads each block of a comment by itself, and adds it to the text before it. Raises TooManyParts.
    """
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
    return content[:head] + control + content[at:]


def bmp_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a BMP, None if it is broken or its pixels are stored as run lengths."""
    header_bytes = int.from_bytes(content[14:18], "little")
    if len(content) < 14 + header_bytes:
        return None
    if header_bytes == _CORE_HEADER_BYTES:
        return int.from_bytes(content[18:20], "little"), int.from_bytes(content[20:22], "little")
    if header_bytes < 40 or int.from_bytes(content[30:34], "little") not in _BMP_COMPRESSIONS:
        return None
    # A negative height: the first row is the upper one.
    return int.from_bytes(content[18:22], "little"), abs(int.from_bytes(content[22:26], "little", signed=True))
