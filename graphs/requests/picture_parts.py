"""What a picture is made of, looked at before it is decoded: small files can keep a decoder busy for hours.

A progressive JPEG refines the whole picture in scan after scan, and an empty scan takes some 60 bytes: 170 kB made
libjpeg work for 18 seconds. Pillow reads the parts of JPEG and PNG one by one in Python: 12 MB of empty ones took it
10 to 18 seconds. The structures are those of ITU-T T.81 (annex B) and of the PNG specification (section 5).
"""

import re

# Encoders write about ten. libjpeg-turbo's authors advise a limit (their report LJT-01-004) and have none built in.
_MOST_SCANS = 50
# 64 MiB of PNG in the smallest usual parts, 4 KiB each, are 16,000.
_MOST_PARTS = 100_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # within a scan's data 0xFF is stuffed, or a restart
_SCAN, _END = 0xDA, 0xD9
_ALONE = {0x01, 0xD8}  # markers without a length


def excess(content: bytes) -> str | None:
    """Say of what a JPEG or PNG has too much to be read in reasonable time; None where nothing speaks against it."""
    if content.startswith(_PNG):
        return _too_many_parts(_count_chunks(content))
    return _jpeg_excess(content) if content.startswith(_JPEG) else None


def _count_chunks(content: bytes) -> int:
    """Count a PNG's chunks, as far as it matters: length (4 bytes), name (4), data, checksum (4)."""
    at, count = len(_PNG), 0
    while at < len(content) and count <= _MOST_PARTS:
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        count += 1
    return count


def _jpeg_excess(content: bytes) -> str | None:
    """Walk over a JPEG's markers, up to the picture's end; what lies within its segments does not count."""
    at, parts, scans, in_scan = 0, 0, 0, False
    while (found := _MARKER.search(content, at)) is not None and (kind := found[1][0]) != _END:
        # Fill bytes before a marker are read one by one as well; a scan's data are not.
        parts += 1 if in_scan else 1 + found.start() - at
        in_scan = kind == _SCAN
        scans += in_scan
        if scans > _MOST_SCANS:
            return f"more than {_MOST_SCANS} scans"
        if parts > _MOST_PARTS:
            break
        at = found.end()
        if kind not in _ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return _too_many_parts(parts)


def _too_many_parts(count: int) -> str | None:
    return f"more than {_MOST_PARTS} parts" if count > _MOST_PARTS else None
