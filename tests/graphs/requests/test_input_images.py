import io
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image

from graphs.errors import InvalidImage, InvalidRequest, RequestTooLarge
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import EncodedInputs, encode_inputs
from graphs.resolution import Resolution
from tests.support.images import image_bytes

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
LIMIT = 1_000_000


def _row(mode: str, *pixels: Any) -> Image.Image:
    image = Image.new(mode, (len(pixels), 1))
    image.putdata(pixels)
    return image


def _palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = _row("P", *range(len(colours)))
    image.putpalette([part for colour in colours for part in colour])
    return image


def _grey16(*values: int) -> Image.Image:
    return Image.frombytes("I;16", (len(values), 1), struct.pack(f"<{len(values)}H", *values))


def _pixels(png: bytes | None, mode: str) -> list[Any]:
    image = Image.open(io.BytesIO(png or b""))
    assert (image.format, image.mode) == ("PNG", mode)
    return list(image.get_flattened_data())


def _read(image: bytes, mask: bytes | None = None, limit: int = LIMIT) -> EncodedInputs:
    limits = ImageLimits(limit, max_side_ratio=32, max_decoding_bytes=2**30)
    return encode_inputs(read_headers(image, mask, limits), lambda size: (size, "stretch"))


def _image(image: bytes) -> list[Any]:
    return _pixels(_read(image).image, "RGB")


def _mask(mask: bytes) -> list[Any]:
    image = Image.new("RGB", Image.open(io.BytesIO(mask)).size)
    return _pixels(_read(image_bytes(image), mask).mask, "L")


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 100}), ("WEBP", {}), ("WEBP", {"lossless": True})]
)
def test_png_jpeg_and_webp_are_read(kind: str, options: dict[str, Any]) -> None:
    found = _read(image_bytes(Image.new("RGB", (24, 16), RED), kind, **options))
    assert (found.size, found.mask) == (Resolution(24, 16), None)
    pixel = _pixels(found.image, "RGB")[200]
    assert all(abs(got - expected) < 4 for got, expected in zip(pixel, RED, strict=True))


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (image_bytes(_row("RGB", RED, BLUE)), [RED, BLUE]),
        (image_bytes(_row("RGBA", (*RED, 255), (*BLUE, 0), (0, 0, 0, 127))), [RED, WHITE, (128, 128, 128)]),
        (image_bytes(_row("LA", (7, 255), (7, 0))), [(7, 7, 7), WHITE]),
        (image_bytes(_row("L", 0, 9)), [BLACK, (9, 9, 9)]),
        (image_bytes(_row("L", 0, 9), transparency=9), [BLACK, WHITE]),
        (image_bytes(_row("1", 0, 255)), [BLACK, WHITE]),
        (image_bytes(_row("1", 0, 255), transparency=0), [WHITE, WHITE]),
        (image_bytes(_palette(RED, GREEN)), [RED, GREEN]),
        (image_bytes(_palette(RED, GREEN), transparency=1), [RED, WHITE]),
        (image_bytes(_palette(RED, GREEN), transparency=b"\x00\xff"), [WHITE, GREEN]),
        (image_bytes(_palette(RED, GREEN), transparency=b"\xff\xff"), [RED, GREEN]),
        (image_bytes(_row("RGB", RED, BLUE), transparency=RED), [WHITE, BLUE]),
        (image_bytes(_grey16(0, 255, 256, 0x8000, 0xFFFF)), [BLACK, BLACK, (1, 1, 1), (128, 128, 128), WHITE]),
    ],
)
def test_every_kind_of_pixel_becomes_rgb_on_white(content: bytes, pixels: list[Any]) -> None:
    assert _image(content) == pixels


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    pixel = _image(image_bytes(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[0]
    assert pixel[0] > 250
    assert max(pixel[1:]) < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_exif_orientation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # must be turned by 90 degrees clockwise
    wide = Image.new("RGB", (32, 16), WHITE)
    wide.paste(BLACK, (0, 0, 16, 16))
    found = _read(image_bytes(wide, kind, exif=exif))
    assert found.size == Resolution(16, 32)
    upright = Image.open(io.BytesIO(found.image)).convert("L")
    assert (upright.getpixel((8, 4)), upright.getpixel((8, 28))) == (0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0"])
def test_broken_exif_data_do_not_spoil_an_image(kind: str, exif: bytes) -> None:
    assert _read(image_bytes(Image.new("RGB", (8, 4), RED), kind, exif=exif)).size == Resolution(8, 4)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    content = image_bytes(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert set(_image(content)) == {RED}


def test_neither_time_nor_text_of_the_client_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    assert b"secret" not in _read(image_bytes(Image.new("RGB", (8, 8)), "JPEG", exif=exif)).image


def _refusal(image: bytes, mask: bytes | None = None, limit: int = LIMIT) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        _read(image, mask, limit)
    return refusal.value


@pytest.mark.parametrize(
    "content",
    [
        b"\x01x",
        b"\x00" * 1000,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    ],
    ids=["x", "zeros", "png head", "jpeg head", "webp head"],
)
def test_anything_else_is_refused(content: bytes) -> None:
    for refusal, param in ((_refusal(content), "image"), (_refusal(image_bytes(_row("L", 0)), content), "mask")):
        assert isinstance(refusal, InvalidImage)
        assert (refusal.param, refusal.code) == (param, "invalid_image_format")
        assert refusal.message.startswith(f"{param} is no image that can be read")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(kind: str, kept: float) -> None:
    whole = image_bytes(Image.effect_noise((64, 64), 50), kind)
    assert isinstance(_refusal(whole[: int(len(whole) * kept)]), InvalidImage)


def test_an_empty_file_is_refused() -> None:
    for refusal, param in ((_refusal(b""), "image"), (_refusal(image_bytes(_row("L", 0)), b""), "mask")):
        assert (refusal.param, refusal.code) == (param, "empty_image_file")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_bomb(width: int, height: int) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + _chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = _png_bomb(60_000, 60_000)
    tracemalloc.start()
    refusal = _refusal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(refusal, RequestTooLarge)
    assert (refusal.param, refusal.code) == ("image", "image_too_large")
    assert "60000x60000 pixels; at most 1000000" in refusal.message
    assert peak < 5_000_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_limit_of_pixels_counts_for_image_and_mask(kind: str) -> None:
    small, large = (image_bytes(Image.new("L", (side, 10)).convert("RGB"), kind) for side in (10, 11))
    assert _read(small, small, 100).size == Resolution(10, 10)
    assert _refusal(large, None, 100).param == "image"
    assert isinstance(_refusal(small, large, 100), RequestTooLarge)
    assert _refusal(small, large, 100).param == "mask"


@pytest.mark.parametrize(
    ("content", "repainted"),
    [
        (image_bytes(_row("RGBA", (*RED, 255), (*RED, 0), (*WHITE, 255))), [0, 255, 0]),
        (image_bytes(_row("RGBA", (*RED, 255), (*RED, 155))), [0, 100]),
        (image_bytes(_row("LA", (255, 0), (255, 255))), [255, 0]),
        (image_bytes(_palette(WHITE, BLACK), transparency=b"\xff\x00"), [0, 255]),
        (image_bytes(_row("L", 0, 200), transparency=200), [0, 255]),
    ],
)
def test_a_mask_with_transparency_repaints_what_is_transparent(content: bytes, repainted: list[int]) -> None:
    assert _mask(content) == repainted


@pytest.mark.parametrize(
    ("content", "repainted"),
    [
        (image_bytes(_row("L", 0, 255, 100)), [0, 255, 100]),
        (image_bytes(_row("1", 0, 255)), [0, 255]),
        (image_bytes(_row("RGB", BLACK, WHITE, RED)), [0, 255, 76]),
        (image_bytes(_row("RGBA", (*BLACK, 255), (*WHITE, 255))), [0, 255]),
        (image_bytes(_row("LA", (3, 255), (255, 255))), [3, 255]),
        (image_bytes(_palette(BLACK, WHITE)), [0, 255]),
        (image_bytes(_palette(BLACK, WHITE), transparency=b"\xff\xff"), [0, 255]),
        (image_bytes(_grey16(0, 0x8000, 0xFFFF)), [0, 128, 255]),
    ],
)
def test_a_mask_without_transparency_repaints_what_is_white(content: bytes, repainted: list[int]) -> None:
    assert _mask(content) == repainted


def test_a_mask_may_be_a_jpeg() -> None:
    assert _mask(image_bytes(Image.new("RGB", (8, 8), WHITE), "JPEG"))[0] > 250


@pytest.mark.parametrize(
    ("drawn", "sizes"),
    [
        pytest.param(Resolution(64, 32), [(64, 32), (64, 32)], id="smaller"),
        pytest.param(Resolution(200, 100), [(200, 100), (200, 100)], id="as it is: the mask has its size as well"),
        pytest.param(Resolution(64, 128), [(200, 100), (50, 50)], id="one side longer: a worker enlarges it"),
        pytest.param(Resolution(4096, 4096), [(200, 100), (50, 50)], id="far larger"),
    ],
)
def test_images_and_masks_are_shrunk_to_what_is_drawn(drawn: Resolution, sizes: list[tuple[int, int]]) -> None:
    headers = read_headers(
        image_bytes(Image.new("RGB", (200, 100), RED), "JPEG"),
        image_bytes(Image.new("L", (50, 50), 255)),
        ImageLimits(LIMIT, max_side_ratio=32, max_decoding_bytes=2**30),
    )
    found = encode_inputs(headers, lambda _size: (drawn, "stretch"))
    shown = [Image.open(io.BytesIO(png or b"")).size for png in (found.image, found.mask)]
    assert found.size == Resolution(200, 100)
    assert shown == sizes


def test_a_photograph_on_its_side_is_fitted_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.new("RGB", (400, 200), BLACK)
    photo.paste(RED, (0, 0, 200, 200))  # the left half is the upper one once it is upright
    headers = read_headers(
        image_bytes(photo, "JPEG", exif=exif, quality=100),
        None,
        ImageLimits(LIMIT, max_side_ratio=32, max_decoding_bytes=2**30),
    )
    found = encode_inputs(headers, lambda size: (Resolution(size.width // 4, size.height // 4), "crop"))
    image = Image.open(io.BytesIO(found.image))
    assert (found.size, image.size) == (Resolution(200, 400), (50, 100))
    assert image.getpixel((25, 10)) == (254, 0, 0)
    assert image.getpixel((25, 90)) == BLACK
