"""Decodes a picture in a process of its own, within limits of memory and time that the kernel keeps."""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

_SCRIPT = Path(__file__).with_name("picture_decoder.py")
# Python, Pillow and the decoder's library before a file is read: 22 to 26 MiB resident.
PROCESS_BYTES = 28 * 2**20
# Copies of the file: as it is read, and the library's own.
_COPIES = 2
# Stacks of threads, tables and buffers: 10 MiB are enough for a small picture.
_FIXED_BYTES = 24 * 2**20
_FIXED_CPU_S = 10
_CPU_S_FOR_A_MEGAPIXEL = 0.5  # measured: 0.03 for a photograph
# The processors may be busy: so many seconds may pass for one of processor time.
_BUSY = 8
_STRIP_BYTES = 2**20
_LONGEST_LINE_BYTES = 1000
_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "RGBa": 4, "CMYK": 4}


class DecoderFailed(Exception):
    """A picture could not be decoded; the message is for logs and developers."""


@dataclass(frozen=True)
class DecoderLimits:
    """What the process that decodes a picture may take: bytes of memory, and seconds of processor time."""

    memory_bytes: int
    cpu_s: int


def limits_for(content: bytes, pixels: int, pixels_bytes: float) -> DecoderLimits:
    """Return what decoding this many pixels may take, of which a library takes so many bytes for all of them."""
    return DecoderLimits(
        math.ceil(pixels_bytes) + _COPIES * len(content) + _FIXED_BYTES,
        math.ceil(_FIXED_CPU_S + pixels / 1e6 * _CPU_S_FOR_A_MEGAPIXEL),
    )


def decoded_apart(content: bytes, kind: str, limits: DecoderLimits, size: tuple[int, int]) -> Image.Image:
    """Return the picture in L, LA, RGB, RGBA or CMYK, upright.

    Raises DecoderFailed where it cannot be decoded, takes more than the limits, or has another size.
    """
    with (
        _in_memory(content) as file,
        subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT), kind, str(limits.memory_bytes), str(limits.cpu_s)],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"MALLOC_ARENA_MAX": "1"},  # each further arena would count with 64 MiB
        ) as process,
    ):
        watch = threading.Timer(limits.cpu_s * _BUSY, process.kill)
        watch.start()
        try:
            return _received(process.stdout, size)
        finally:
            watch.cancel()
            process.kill()


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Give the descriptor of a file in memory, which the other process can read from its begin."""
    file = os.memfd_create("picture", os.MFD_CLOEXEC)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def _received(out: IO[bytes] | None, size: tuple[int, int]) -> Image.Image:
    """Read the picture strip by strip, so that it stands in this process only once."""
    line = b"" if out is None else out.readline(_LONGEST_LINE_BYTES)
    answer = {}
    with suppress(ValueError):
        answer = json.loads(line)
    if out is None or answer.get("mode") not in _BANDS:
        raise DecoderFailed(answer.get("error", "the decoder ended"))
    if tuple(answer["size"]) != size:
        raise DecoderFailed(f"{answer['size']} pixels, and not {size}")
    mode = answer["mode"]
    image = Image.new("RGBA" if mode == "RGBa" else mode, size)
    row_bytes = size[0] * _BANDS[mode]
    rows = max(1, _STRIP_BYTES // row_bytes)
    for top in range(0, size[1], rows):
        height = min(rows, size[1] - top)
        data = out.read(height * row_bytes)
        if len(data) < height * row_bytes:
            raise DecoderFailed("the decoder ended")
        strip = Image.frombytes(mode, (size[0], height), data)
        image.paste(strip.convert("RGBA") if mode == "RGBa" else strip, (0, top))
    return image
