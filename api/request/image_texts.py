"""Decodes images that stand in a body as text: data URLs (RFC 2397) and base64 in the spellings of clients."""

import asyncio
import base64
import re

from graphs.errors import InvalidImage, InvalidRequest

# What stands before the base64 of a data URL is short; no pattern is tried on more.
_MAX_HEAD_BYTES = 256
_DATA_URL = re.compile(rb"data:[\w.+/-]*(;[\w.+=\"' -]+)*;\s*base64,", re.ASCII | re.IGNORECASE)
_SCHEME = re.compile(rb"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_PART_BYTES = 2**20  # a multiple of 4
# The url-safe alphabet (RFC 4648, 5) as the usual one, and the line breaks of wrapped base64 (RFC 2045).
_USUAL = bytes.maketrans(b"-_", b"+/")
_BREAKS = b" \t\r\n"


async def decoded_image(text: bytes, param: str) -> bytes:
    """Return the bytes of an image that was sent as a data URL or as base64 alone.

    Raises InvalidRequest for another address, and InvalidImage for broken base64.
    """
    comma = text.find(b",", 0, _MAX_HEAD_BYTES)
    start = comma + 1 if comma >= 0 and _DATA_URL.fullmatch(text, 0, comma + 1) else 0
    if not start and (not text or _SCHEME.match(text)):
        raise InvalidRequest(
            f"{param}: give the image as a data URL (data:image/png;base64,...) or as base64; "
            "other addresses are not fetched.",
            param=param,
            code="invalid_image_url",
        )
    try:
        return await asyncio.to_thread(_from_base64, text, start)
    except ValueError as error:
        raise InvalidImage(f"{param}: its base64 is broken.", param=param, code="invalid_base64_image") from error


def _from_base64(text: bytes, start: int) -> bytes:
    """Decode what follows ``start``, in parts: other threads run between them. Raises ValueError."""
    text = text[start:].translate(_USUAL, _BREAKS)
    if 0 <= text.find(b"=") < len(text) - 2:
        raise ValueError("there is a = before the end")
    if not text.endswith(b"="):
        text += b"=" * (-len(text) % 4)  # url-safe base64 often comes without it
    parts = (text[at : at + _PART_BYTES] for at in range(0, len(text), _PART_BYTES))
    return b"".join(base64.b64decode(part, validate=True) for part in parts)
