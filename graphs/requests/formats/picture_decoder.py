"""A script that decodes one picture from standard input, and writes its pixels to standard output.

Usage: ``python -I picture_decoder.py FORMAT MAX_BYTES MAX_CPU_S``. Large native libraries decode these formats, and a
file can lie about its size to them. So they run in a process of their own, in which the kernel ends what takes more
memory or time than the file's header states; what they print goes nowhere.

What is written is one line of JSON, and then the rows of pixels: {"mode": Pillow's mode, "size": [width, height]}, or
{"error": the type of an exception}. As a script of its own it needs no code of this project, and starts faster.
"""

import io
import json
import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_STRIP_BYTES = 2**20
_WRITTEN = {"L", "LA", "RGB", "RGBA", "RGBa", "CMYK"}
_OTHERS = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
_SIXTEEN_BITS = {"I;16", "I;16B", "I;16L"}
"""Pillow's modes: those that are written as they are, what others become, and those whose upper byte is written."""

Decoded = tuple[str, tuple[int, int], Iterator[bytes | memoryview]]
"""Pillow's mode, width and height, and the rows."""


def main() -> None:
    """Decode the picture within the limits."""
    kind = sys.argv[1]
    max_bytes, max_cpu_s = map(int, sys.argv[2:])
    decode = {"HEIC": _heic, "AVIF": _avif, "TIFF": _tiff}[kind]()
    content = sys.stdin.buffer.read()
    _limit(max_bytes, max_cpu_s)
    out = sys.stdout.buffer
    try:
        mode, size, rows = decode(content)
        out.write(json.dumps({"mode": mode, "size": size}).encode() + b"\n")
        for row in rows:
            out.write(row)
    except Exception as error:  # noqa: BLE001 - decoders raise many types, which the answer names
        out.write(json.dumps({"error": type(error).__name__}).encode() + b"\n")
    out.flush()


def _limit(max_bytes: int, max_cpu_s: int) -> None:
    """Let the process take so much more memory and processor time, and open or write no file."""
    with open("/proc/self/statm") as statm:
        used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, used_bytes + max_bytes),
        (resource.RLIMIT_CPU, max_cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(limit, (value, value))


def _heic() -> Any:
    import pi_heif

    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    pi_heif.options.DECODE_THREADS = 1

    def decode(content: bytes) -> Decoded:
        found = pi_heif.open_heif(io.BytesIO(content))
        picture = found[found.primary_index]
        picture.load()
        return picture.mode, picture.size, _rows_of_heic(picture)

    return decode


def _rows_of_heic(picture: Any) -> Iterator[memoryview]:
    data = memoryview(picture.data)  # it is the library's memory, and is there for as long as the picture
    width, height = picture.size
    for at in range(0, height * picture.stride, picture.stride):
        yield data[at : at + width * len(picture.mode)]


def _avif() -> Any:
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return _by_pillow("AVIF")


def _tiff() -> Any:
    from PIL import TiffImagePlugin  # noqa: F401 - it is loaded before files may not be opened any more

    return _by_pillow("TIFF")


def _by_pillow(kind: str) -> Any:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    Image.init()

    def decode(content: bytes) -> Decoded:
        opened = Image.open(io.BytesIO(content), formats=(kind,))
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
        return _mode(opened), opened.size, _rows(opened)

    return decode


def _mode(image: "Image.Image") -> str:
    """Return the mode in which an image is written. Raises ValueError where it has no colours in 8 or 16 bits."""
    if image.mode in _SIXTEEN_BITS:
        return "L"
    mode = image.mode if image.mode in _WRITTEN else _OTHERS.get(image.mode)
    if mode is None:
        raise ValueError(f"a picture of mode {image.mode}")
    return mode


def _rows(image: "Image.Image") -> Iterator[bytes]:
    rows = max(1, _STRIP_BYTES // (image.width * 4))
    mode = _mode(image)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if image.mode in _SIXTEEN_BITS:
            yield strip.convert("I").tobytes()[1::4]  # the second of four bytes is the value divided by 256
        else:
            yield strip.convert(mode).tobytes()


if __name__ == "__main__":
    main()
