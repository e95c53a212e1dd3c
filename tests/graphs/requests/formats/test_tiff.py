"""TIFF: what is read of it, and what a file that lies about itself can take."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from graphs.errors import InvalidImage, InvalidRequest, RequestTooLarge
from graphs.requests.formats.tiff import first_page, still_tiff
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import encode_inputs
from tests.fuzz.hostile_images import tiled_tiff
from tests.support.images import image_bytes, pixels

pytestmark = pytest.mark.usefixtures("processes")
LIMITS = ImageLimits(52_000_000, max_side_ratio=32, max_decoding_bytes=640 * 2**20)
NOISE = Image.effect_noise((100, 90), 60).convert("RGB")
WIDTH, HEIGHT, BITS, COMPRESSION, STRIPS, ORIENTATION, ROWS, SIZES = 256, 257, 258, 259, 273, 274, 278, 279


def _read(content: bytes) -> Image.Image:
    found = encode_inputs(read_headers(content, None, LIMITS), lambda size: (size, "stretch"))
    return Image.open(io.BytesIO(found.image))


def _message(content: bytes) -> str:
    with pytest.raises(InvalidRequest) as refusal:
        _read(content)
    assert refusal.value.param == "image"
    return str(refusal.value)


def _with_tag(content: bytes, tag: int, value: int, kind: int = 4) -> bytes:
    """Return the file with another number in its first page's tag."""
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry) == (tag,):
            return content[: entry + 2] + struct.pack("<HII", kind, 1, value) + content[entry + 12 :]
    raise ValueError(f"the file has no tag {tag}")


@pytest.mark.parametrize(
    ("compression", "mode"),
    [
        *((None, mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("tiff_lzw", mode) for mode in ("1", "P", "RGBA")),
        *((compression, "RGB") for compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")),
    ],
)
def test_tiff_is_read(compression: str | None, mode: str) -> None:
    content = image_bytes(NOISE.convert(mode), "TIFF", compression=compression)
    assert np.array_equal(np.asarray(_read(content)), pixels(content))


def test_tiff_with_jpeg_within_and_with_the_large_end_first_is_read() -> None:
    content = image_bytes(NOISE, "TIFF", compression="jpeg", quality=95)
    assert np.array_equal(np.asarray(_read(content)), pixels(content))
    large_end = image_bytes(Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 0x4000, 0xFFFF)), "TIFF")
    assert large_end.startswith(b"MM")
    assert np.asarray(_read(large_end))[0, :, 0].tolist() == [0x40, 0xFF]


def test_sixteen_bits_become_eight() -> None:
    grey = Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 0x8000, 0xFFFF))
    for compression in (None, "tiff_lzw"):
        assert np.asarray(_read(image_bytes(grey, "TIFF", compression=compression)))[0, :, 0].tolist() == [0, 128, 255]
    colours = struct.pack("<6H", 0x1000, 0x8000, 0xFFFF, 0, 0x4000, 0xC000)
    tags = [(256, 4, 2), (257, 4, 1), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 8), (277, 3, 3), (278, 4, 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (279, 4, 12)])
    bits = struct.pack("<HHII", 258, 3, 3, 20)
    entries = entries.replace(struct.pack("<HHII", 258, 3, 1, 16), bits)
    content = b"II*\0" + struct.pack("<I", 26) + colours + struct.pack("<3H", 16, 16, 16)
    content += struct.pack("<H", len(tags) + 1) + entries + bytes(4)
    assert np.asarray(_read(content)).tolist() == [[[0x10, 0x80, 0xFF], [0, 0x40, 0xC0]]]


def test_cmyk_with_its_profile_and_a_page_on_its_side_are_read() -> None:
    assert np.abs(pixels(image_bytes(NOISE.convert("CMYK"), "TIFF")) - np.asarray(NOISE, dtype=float)).mean() < 2
    assert _read(image_bytes(NOISE.convert("CMYK"), "TIFF")).size == NOISE.size
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(_read(image_bytes(NOISE, "TIFF", icc_profile=profile))), np.asarray(NOISE))
    turned = image_bytes(NOISE, "TIFF", tiffinfo={ORIENTATION: 6})
    assert np.array_equal(np.asarray(_read(turned)), np.asarray(NOISE.transpose(Image.Transpose.ROTATE_270)))


def test_a_transparent_page_lies_on_white() -> None:
    assert set(_read(image_bytes(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "TIFF")).tobytes()) == {255}


def test_the_first_of_many_pages_is_read_and_texts_are_left_out() -> None:
    pages = [Image.new("RGB", (16, 16), (number, 0, 0)) for number in range(50)]
    texts: dict[int, Any] = {270: "x" * 100_000, 315: "y" * 50_000}
    content = image_bytes(pages[7], "TIFF", save_all=True, append_images=pages, tiffinfo=texts)
    assert set(np.asarray(_read(content)).reshape(-1, 3).tolist()[0]) == {7, 0}
    kept = first_page(still_tiff(content))
    assert kept is not None
    assert {270, 315}.isdisjoint(kept.tags)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_cut_one_is_incomplete(compression: str | None) -> None:
    whole = image_bytes(NOISE, "TIFF", compression=compression)
    for end in (12, 100, 200, len(whole) // 2, len(whole) - 9):
        assert _message(whole[:end]).startswith("image is incomplete: "), end
    # Where the tags stand behind the pixels:
    late = still_tiff(whole)
    for end in (12, len(late) // 2, len(late) - 10):
        assert _message(late[:end]).startswith("image is incomplete: "), end


def test_the_size_is_judged_before_anything_is_decoded() -> None:
    whole = image_bytes(NOISE, "TIFF", compression="tiff_lzw")
    for content in (
        _with_tag(_with_tag(whole, WIDTH, 65535), HEIGHT, 65535),
        _with_tag(image_bytes(Image.new("L", (8000, 6000)), "TIFF", compression="tiff_lzw"), BITS, 60_000, 3),
    ):
        with pytest.raises((RequestTooLarge, InvalidImage)):
            read_headers(content, None, LIMITS)


def test_strips_that_are_larger_than_stated_are_refused() -> None:
    """A page of 8 x 8 pixels whose strips unpack to 100 megabytes, and one with a tile of 30,000 x 30,000."""
    large = image_bytes(Image.new("L", (10_000, 10_000)), "TIFF", compression="tiff_adobe_deflate")
    small = _with_tag(_with_tag(_with_tag(large, WIDTH, 8), HEIGHT, 8), ROWS, 2**31)
    header = read_headers(small, None, LIMITS).image
    assert header.decoding_bytes < 80 * 2**20
    with pytest.raises(InvalidImage, match="DecoderFailed"):
        _read(small)
    assert "MiB to decode" in _message(tiled_tiff(30_000))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (image_bytes(NOISE.convert("1"), "TIFF", compression="group4"), "a TIFF image of compression 4"),
        (image_bytes(NOISE, "TIFF", compression="lzma"), "a TIFF image of compression 34925"),
        (image_bytes(NOISE, "TIFF", compression="zstd"), "a TIFF image of compression 50000"),
        (image_bytes(NOISE.convert("F"), "TIFF"), "a TIFF image of floating-point or large numbers"),
        (image_bytes(NOISE, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "a raw image of a camera"),
        (image_bytes(NOISE, "TIFF", big_tiff=True), "a BigTIFF image"),
    ],
)
def test_the_error_names_the_kind_of_what_is_not_read(content: bytes, kind: str) -> None:
    assert _message(content).startswith(f"image is {kind}, which is not read here. PNG, JPEG, ")


def test_tables_without_end_are_refused() -> None:
    whole = image_bytes(NOISE, "TIFF", compression="tiff_lzw")
    page = first_page(whole)
    assert page is not None
    entry = whole.index(struct.pack("<H", STRIPS), struct.unpack_from("<I", whole, 4)[0])
    many = whole[: entry + 4] + struct.pack("<I", 200_000) + whole[entry + 8 :] + bytes(900_000)
    assert "more than 100000 parts" in _message(many)
    directory = b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(12 * 60_000)
    assert "more than 4096 parts" in _message(directory)
