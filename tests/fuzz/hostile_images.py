"""Images that are meant to hurt, made here: bombs, liars, chimeras, and odd ones that must simply be drawn."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.heif_files import box, coded_picture, full_box, grid, heif_file, with_size
from tests.support.images import image_bytes

PICTURES = Path(__file__).parents[1] / "graphs" / "requests" / "pictures"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, data: bytes, *more: bytes, depth: int = 8, colour: int = 2, interlace: int = 0
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return PNG_HEAD + header + b"".join(more) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def _small() -> Image.Image:
    image = Image.new("RGB", (16, 16), RED)
    image.paste(BLUE, (0, 0, 8, 16))
    return image


def _frames(kind: str, count: int = 20, **options: Any) -> bytes:
    frames = [Image.new("RGB", (16, 16), (number, 0, 0)) for number in range(count)]
    return image_bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def _grey16() -> bytes:
    return image_bytes(Image.frombytes("I;16", (16, 16), struct.pack("<256H", *range(0, 65536, 256))))


def _large_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    return image_bytes(_small(), "JPEG", exif=exif)


def _heic() -> bytes:
    return (PICTURES / "plain.heic").read_bytes()


def _zip() -> bytes:
    return b"PK\x05\x06" + bytes(18)


def drawable() -> dict[str, bytes]:
    """Odd, but images: each must be drawn."""
    whole, jpeg, webp = image_bytes(_small()), image_bytes(_small(), "JPEG"), image_bytes(_small(), "WEBP")
    palette = _small().convert("P")
    orientation = Image.Exif()
    orientation[0x0112] = 6
    rows = b"".join(b"\0" + bytes(48) for _ in range(16))
    return {
        "animated png": _frames("PNG"),
        "animated webp": _frames("WEBP"),
        "16-bit grey": _grey16(),
        "16-bit colours": png(16, 16, b"".join(b"\0" + bytes(96) for _ in range(16)), depth=16),
        "interlaced": png(16, 16, bytes(1000), interlace=1),
        "cmyk jpeg": image_bytes(_small().convert("CMYK"), "JPEG"),
        "grey jpeg": image_bytes(_small().convert("L"), "JPEG"),
        "progressive jpeg": image_bytes(_small(), "JPEG", progressive=True),
        "palette": image_bytes(palette),
        "palette with transparency": image_bytes(palette, transparency=b"\x00\x80\xff"),
        "one bit": image_bytes(_small().convert("1")),
        "grey with alpha": image_bytes(_small().convert("LA")),
        "large exif": _large_exif(),
        "turned by exif": image_bytes(_small(), "JPEG", exif=orientation),
        "broken exif": image_bytes(_small(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "broken colour profile in png": image_bytes(_small(), icc_profile=b"garbage" * 1000),
        "broken colour profile in jpeg": image_bytes(_small(), "JPEG", icc_profile=b"\xff" * 100_000),
        "negative resolution": png(16, 16, rows, chunk(b"pHYs", b"\xff" * 9)),
        "absurd gamma": png(16, 16, rows, chunk(b"gAMA", b"\0\0\0\0")),
        "jpeg without its end": jpeg[:-2],
        "png without its end": whole[:-12],
        "megabytes of text": png(16, 16, rows, chunk(b"tEXt", b"workflow\0" + b"x" * 4_000_000)),
        "packed text of 100 megabytes": png(16, 16, rows, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8), 9))),
        "packed profile of 100 megabytes": png(16, 16, rows, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8), 9))),
        "gif": image_bytes(_small(), "GIF"),
        "animated gif": _frames("GIF"),
        "gif and jar": image_bytes(_small(), "GIF") + _zip(),
        "bmp": image_bytes(_small(), "BMP"),
        "avif": image_bytes(_small(), "AVIF"),
        "animated avif": _frames("AVIF", 3),
        "tiff": image_bytes(_small(), "TIFF"),
        "tiff with many pages": _frames("TIFF", 50),
        "tiff of 16 bits, packed": image_bytes(Image.new("I;16", (16, 16)), "TIFF", compression="tiff_lzw"),
        "tiff with a text of 4 megabytes": image_bytes(_small(), "TIFF", tiffinfo={270: "x" * 4_000_000}),
        "heic": _heic(),
        "heic of tiles": heif_file([grid(2, 2, 100, 80), *[coded_picture(_heic())] * 4], [(b"dimg", 1, [2, 3, 4, 5])]),
        "unknown chunks": png(16, 16, rows, *[chunk(b"fuZz", b"x")] * 500),
        "png and zip": whole + _zip(),
        "jpeg and zip": jpeg + _zip(),
        "webp and html": webp + b"<script>alert(1)</script>",
        "jpeg with a php comment": jpeg[:2] + b"\xff\xfe\x00\x12<?php exec(1);?>" + jpeg[2:],
    }


def refused() -> dict[str, bytes]:
    """No images, or none that are read here: each must be refused with 400."""
    return {
        "tiff of a fax": image_bytes(_small().convert("1"), "TIFF", compression="group3"),
        "big tiff": image_bytes(_small(), "TIFF", big_tiff=True),
        "tiff without pixels": b"II*\0\x08\0\0\0\0\0" + bytes(100),
        "tiff without its tags": b"II*\0\xff\xff\xff\x7f" + bytes(100),
        "ico": image_bytes(_small(), "ICO"),
        "ico with many images": struct.pack("<HHH", 0, 1, 65535) + bytes(16 * 1000),
        "ppm": image_bytes(_small(), "PPM"),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "avif of nothing": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(100),
        "heic of a size that it does not have": heif_file([with_size(coded_picture(_heic()), 500, 400)]),
        "heic of itself": heif_file([grid(2, 2, 100, 80)], [(b"dimg", 1, [1, 1, 1, 1])]),
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(100),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "svg bomb": b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
        "html": b"<!DOCTYPE html><script>alert(1)</script>",
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(%pipe%id) (r) file\n%%EOF\n",
        "mvg": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|id\")'\npop graphic-context",
        "zip": _zip(),
        "elf": b"\x7fELF" + bytes(100),
        "zero bytes": bytes(10_000),
        "text": "ж".encode() * 1000,
        "png of nothing": png(0, 0, b""),
        "png of no width": png(0, 16, b""),
        "png without pixels": png(16, 16, b""),
        "png of another compression": png(16, 16, bytes(1000)).replace(
            b"\x08\x02\x00\x00\x00", b"\x08\x02\x09\x09\x09"
        ),
        "png with a wrong checksum": image_bytes(_small()).replace(b"IDAT", b"IDAT\x00", 1),
        "png with a huge chunk": PNG_HEAD + struct.pack(">I", 2**32 - 1) + b"IHDR" + bytes(100),
        "png with a huge text": png(16, 16, b"", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "jpeg of nothing": _jpeg_of(0, 0),
        "jpeg cut within its header": image_bytes(_small(), "JPEG")[:100],
        "jpeg without tables": b"\xff\xd8"
        + b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01",
        "webp of nothing": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0/" + bytes(12),
        "webp of another length": image_bytes(_small(), "WEBP")[:40],
    }


def bombs() -> dict[str, Callable[[], bytes]]:
    """Small files that ask for much, made when called: each must be refused, and at little cost."""
    endless = image_bytes(_small(), "JPEG")
    return {
        "png of 65535 x 65535": lambda: png(65535, 65535, bytes(50_000_000)),
        "png of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1, b""),
        "png of 30000 x 30000 at one bit": lambda: png(30000, 30000, bytes(112_530_000), depth=1, colour=0),
        "png of one row": lambda: png(2**31 - 1, 1, bytes(100_000_000), colour=0),
        "jpeg of 65535 x 65535": lambda: _jpeg_of(65535, 65535),
        "webp of 16384 x 16384": lambda: _webp_of(16384, 16384),
        "jpeg that is refined for ever": lambda: _endless_jpeg(3000, 20_000),
        "jpeg of empty segments": lambda: endless[:2] + b"\xff\xfe\x00\x02" * 5_000_000 + endless[2:],
        "jpeg of fill bytes": lambda: endless[:2] + b"\xff" * 20_000_000 + endless[2:],
        "gif of 65535 x 65535": lambda: b"GIF89a" + b"\xff" * 4 + image_bytes(_small(), "GIF")[10:],
        "gif of one pixel with a frame of 65535 x 65535": lambda: image_bytes(_small(), "GIF").replace(
            b"\x2c\0\0\0\0\x10\0\x10\0", b"\x2c\0\0\0\0\xff\xff\xff\xff"
        ),
        "gif of empty comments": lambda: (
            b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe" + b"\1x" * 5_000_000 + b"\0" + image_bytes(_small(), "GIF")[13:]
        ),
        "bmp of 65535 x 65535": lambda: image_bytes(_small(), "BMP").replace(
            struct.pack("<ii", 16, 16), struct.pack("<ii", 65535, -65535)
        ),
        "tiff of 65535 x 65535": lambda: _tiff_of(65535, 65535),
        "tiff of a tile of 60000 x 60000": lambda: tiled_tiff(60_000),
        "tiff of strips without end": lambda: _tiff_of(16, 16, strips=4_000_000),
        "heic of 60000 x 60000": lambda: heif_file([with_size(coded_picture(_heic()), 60_000, 60_000)]),
        "avif of 60000 x 60000": lambda: heif_file(
            [with_size(coded_picture(image_bytes(_small(), "AVIF")), 60_000, 60_000)]
        ),
        "heic of tiles of 20000 x 20000": lambda: heif_file(
            [grid(1, 4, 64, 64), *[with_size(coded_picture(_heic()), 20_000, 20_000)] * 4],
            [(b"dimg", 1, [2, 3, 4, 5])],
        ),
        "heic of 36 million pixels that states 64": lambda: heif_file(
            [with_size(coded_picture((PICTURES / "large.heic").read_bytes()), 64, 64)]
        ),
        "avif of 36 million pixels that states 64": lambda: heif_file(
            [with_size(coded_picture(image_bytes(Image.new("L", (6000, 6000)), "AVIF", speed=10)), 64, 64)]
        ),
        "heic of entries without end": lambda: (
            box(b"ftyp", b"heic", bytes(4), b"mif1")
            + full_box(b"meta", 0, full_box(b"iloc", 1, b"\0\0\xff\xff", b"\0\1\0\0\0\0\xff\xff" * 60_000))
        ),
        "png of empty chunks": lambda: png(16, 16, bytes(784), chunk(b"fuZz", b"") * 2_000_000),
        "png of empty texts": lambda: png(16, 16, bytes(784), chunk(b"tEXt", b"k\0v") * 1_500_000),
    }


def _jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header lies about its size."""
    whole = image_bytes(_small(), "JPEG")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def _tiff_of(width: int, height: int, *, strips: int = 1) -> bytes:
    """A TIFF of one grey page with so many strips, of which each begins at the same place."""
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (262, 1, 1), (273, strips, 122), (279, strips, 122)]
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries
    return head.ljust(122, b"\0") + struct.pack("<I", 122) * max(strips, 16)


def tiled_tiff(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels with one tile that is larger."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, 64)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _webp_of(width: int, height: int) -> bytes:
    """A lossless WebP whose header lies about its size: 14 bits each (RFC 9649, section 3.4)."""
    whole = image_bytes(_small(), "WEBP", lossless=True)
    at = whole.index(b"\x2f", whole.index(b"VP8L") + 8) + 1
    size = (width - 1) | (height - 1) << 14
    return whole[:at] + struct.pack("<I", size) + whole[at + 4 :]


def _endless_jpeg(side: int, scans: int) -> bytes:
    """A small JPEG whose last scan is there again and again, each over the whole image."""
    whole = image_bytes(Image.new("L", (side, side), 100), "JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + scan * scans + whole[-2:]


def truncated(kind: str) -> Iterator[bytes]:
    """An image cut at every place that its format knows, and within each part."""
    noise = Image.effect_noise((48, 48), 80).convert("RGB")
    whole = _heic() if kind == "HEIC" else image_bytes(noise, kind)
    cuts = {"PNG": _png_cuts, "JPEG": _jpeg_cuts, "GIF": _gif_cuts}.get(kind, _even_cuts)(whole)
    for cut in sorted({place for at in cuts for place in (at - 1, at, at + 3)}):
        if 0 < cut < len(whole):
            yield whole[:cut]


def _png_cuts(whole: bytes) -> Iterator[int]:
    at = len(PNG_HEAD)
    while at < len(whole) - 12:  # without its very end a PNG is whole all the same
        yield at
        yield at + 8
        at += 12 + int.from_bytes(whole[at : at + 4], "big")


def _jpeg_cuts(whole: bytes) -> Iterator[int]:
    # Without its very end a JPEG is whole all the same.
    return (at for at in range(len(whole) - 2) if whole[at] == 0xFF and whole[at + 1] not in (0, 0xFF))


def _gif_cuts(whole: bytes) -> Iterator[int]:
    return (at for at in _even_cuts(whole) if at < len(whole) - 8)  # as with a JPEG


def _even_cuts(whole: bytes) -> Iterator[int]:
    return iter(range(4, len(whole) - 4, max(1, len(whole) // 40)))
