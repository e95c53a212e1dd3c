"""Tells what a file that is not read is, by its first bytes, so that the error can name it.

The signatures are those of the formats' own specifications; ISO 14496-12 (section 4.3) says where the brand of a video
or of an image in its container stands.
"""

import codecs
import re

_HEAD_BYTES = 4096
_SIGNATURES: dict[bytes, str] = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"8BPS": "a Photoshop document (PSD)",
    b"GIF8": "a GIF image without a frame",
    b"BM": "a BMP image with run lengths, or a broken one",
    b"II+\0": "a BigTIFF image",
    b"MM\0+": "a BigTIFF image",
    b"\0\0\1\0": "an ICO image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"qoif": "a QOI image",
    b"v/1\1": "an OpenEXR image",
    b"#?RADIANCE": "a Radiance image",
    b"gimp xcf": "a GIMP document",
    b"PK\3\4": "a ZIP archive or an office document",
    b"PK\5\6": "a ZIP archive or an office document",
    b"\x1f\x8b": "a gzip archive",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
    b"ID3": "an audio file",
    b"OggS": "an Ogg file",
    b"fLaC": "an audio file",
}
_RIFF = {b"AVI ": "an AVI video", b"WAVE": "an audio file"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_DOCUMENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|svg|!--)", re.IGNORECASE)

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]+={0,2}\s*")
_SHORTEST_BASE64 = 64


def kind_of(content: bytes) -> str | None:
    """Return what a file is, in words with their article, None if it is not known."""
    head = content[:_HEAD_BYTES]
    if head[4:8] == b"ftyp":
        return _kind_of_container(head)
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if _DOCUMENT.match(head):
        return "an SVG drawing" if b"<svg" in head.lower() else "an HTML or XML page"
    if head.startswith(b"data:"):
        return "the text of a data URL"
    found = next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), None)
    return found or _kind_of_text(head)


def _kind_of_text(head: bytes) -> str | None:
    """Return what a text is, None if it is none: it has no control characters, and is UTF-8."""
    if not head.strip() or _CONTROL.search(head):
        return None
    try:
        # A character may be cut where the head ends.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    return "text in base64" if _BASE64.fullmatch(head) and len(head) >= _SHORTEST_BASE64 else "text"


def _kind_of_container(head: bytes) -> str:
    size_bytes = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size_bytes, len(head)), 4))]
    if b"crx " in brands:
        return "a raw image of a camera"
    if _AVIF.intersection(brands):
        return "an AVIF image without a picture in AV1"
    return (
        "a HEIC image without a picture in HEVC or AV1" if _HEIC.intersection(brands) else "an MP4 or QuickTime video"
    )
