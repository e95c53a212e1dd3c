"""Walks over the parts of JPEG, PNG and WebP files, without decoding a pixel.

Small files can keep a decoder busy for hours, so the parts are counted before anything is decoded. A progressive JPEG
refines the whole image in scan after scan, and an empty scan takes some 60 bytes: 170 kB kept libjpeg busy for 18
seconds. Pillow reads the segments of JPEG and the chunks of PNG one by one in Python, which took 10 to 18 seconds for
12 MB of empty ones. The structures are those of ITU-T T.81 (annex B), of the PNG specification (section 5) and of
RFC 9649 (section 2.3, RIFF).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Encoders write about ten. libjpeg-turbo has no limit, and its authors advise one (their report LJT-01-004).
MOST_SCANS = 50
# A PNG of 64 MiB in the smallest usual chunks, 4 KiB each, has 16,000.
MOST_PARTS = 100_000

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
RIFF = b"RIFF"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # in the data of a scan, 00 or a restart marker follows 0xFF
# A search holds Python's lock; between two of them other threads run.
_WINDOW_BYTES = 2**20
JPEG_SCAN = 0xDA
JPEG_END = 0xD9
JPEG_ALONE = {0x01, 0xD8}  # markers without a length
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the three are DHT, JPG and DAC
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


class TooManyParts(Exception):
    """A file has more parts than can be read in reasonable time; the message says of what."""


@dataclass(frozen=True)
class JpegFrame:
    """The frame header of a JPEG: its size, the sampling factors of its components, and how it is coded."""

    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    is_progressive: bool


@dataclass(frozen=True)
class JpegStructure:
    """A JPEG's first frame header, None if there is none, the number of its scans, and whether it has its end."""

    frame: JpegFrame | None
    scans: int
    has_end: bool


@dataclass(frozen=True)
class Part:
    """A chunk of a PNG or WebP: its name, where it begins and where the next one begins, and its data's place."""

    name: bytes
    start: int
    end: int
    data: slice


def jpeg_structure(content: bytes) -> JpegStructure:
    """Walk once over the markers of a JPEG. Raises TooManyParts."""
    at = 0
    parts = 0
    scans = 0
    frame: JpegFrame | None = None
    in_scan = False
    while (found := next_marker(content, at)) is not None and (kind := found[1][0]) != JPEG_END:
        # Pillow reads fill bytes before a marker one by one as well, but not the data of a scan.
        parts += 1 if in_scan else 1 + found.start() - at
        in_scan = kind == JPEG_SCAN
        scans += in_scan
        _check(scans, MOST_SCANS, "scans")
        _check(parts, MOST_PARTS, "parts")
        at = found.end()
        if kind in _FRAMES and frame is None:
            frame = _frame(content[at : at + 8 + 3 * 255], is_progressive=kind in _PROGRESSIVE)
        if kind not in JPEG_ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return JpegStructure(frame, scans, has_end=found is not None)


def next_marker(content: bytes, at: int) -> re.Match[bytes] | None:
    """Return the next marker of a JPEG from a place on, its second byte as group 1. None if there is none."""
    while at < len(content):
        found = _MARKER.search(content, at, at + _WINDOW_BYTES)
        if found is not None:
            return found
        at += _WINDOW_BYTES - 1  # a marker may lie across the edge
    return None


def png_chunks(content: bytes) -> Iterator[Part]:
    """Yield the chunks of a PNG up to its end. A chunk is length (4 bytes), name (4), data and checksum (4).

    Raises TooManyParts.
    """
    at = len(PNG_SIGNATURE)
    count = 0
    while at < len(content):
        count += 1
        _check(count, MOST_PARTS, "parts")
        length = int.from_bytes(content[at : at + 4], "big")
        name = content[at + 4 : at + 8]
        yield Part(name, at, at + 12 + length, slice(at + 8, at + 8 + length))
        at += 12 + length
        if name == b"IEND":
            return


def webp_chunks(content: bytes) -> Iterator[Part]:
    """Yield the chunks of a WebP. A chunk is name (4 bytes), length (4), data, padded to an even length.

    Raises TooManyParts.
    """
    at = 12
    whole = min(len(content), 8 + int.from_bytes(content[4:8], "little"))  # what follows is no part of the image
    count = 0
    while at < whole:
        count += 1
        _check(count, MOST_PARTS, "parts")
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        yield Part(content[at : at + 4], at, end, slice(at + 8, at + 8 + length))
        at = end


def _frame(segment: bytes, *, is_progressive: bool) -> JpegFrame | None:
    """Read a frame header: length (2 bytes), precision, height (2), width (2), count, and 3 for each component."""
    if len(segment) < 8 or len(segment) < 8 + 3 * segment[7]:
        return None
    factors = segment[9 : 8 + 3 * segment[7] : 3]
    return JpegFrame(
        width=int.from_bytes(segment[5:7], "big"),
        height=int.from_bytes(segment[3:5], "big"),
        sampling=tuple((factor >> 4, factor & 15) for factor in factors),
        is_progressive=is_progressive,
    )


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooManyParts(f"more than {most} {what}")
