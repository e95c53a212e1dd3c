import struct
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

from graphs.errors import InvalidImage, InvalidRequest, RequestTooLarge
from graphs.requests import image_headers
from graphs.requests.formats.image_structure import png_chunks
from graphs.requests.image_headers import ImageLimits, InputHeaders, read_headers
from graphs.requests.input_images import encode_inputs
from graphs.requests.still_images import still_png
from graphs.resolution import Resolution
from tests.fuzz.hostile_images import chunk, png
from tests.support.images import image_bytes

MIB = 2**20
LIMITS = ImageLimits(max_pixels=52_000_000, max_side_ratio=32, max_decoding_bytes=640 * MIB)


def _headers(image: bytes, mask: bytes | None = None, limits: ImageLimits = LIMITS) -> InputHeaders:
    return read_headers(image, mask, limits)


def _refusal(image: bytes, mask: bytes | None = None, limits: ImageLimits = LIMITS) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        _headers(image, mask, limits)
    return refusal.value


def _jpeg_header(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    """A small JPEG whose header states this size."""
    whole = image_bytes(Image.new(mode, (16, 16)), "JPEG", **options)
    marker = b"\xff\xc2" if options.get("progressive") else b"\xff\xc0"
    at = whole.index(marker) + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
    ],
)
def test_the_size_is_that_of_the_header(kind: str, options: dict[str, Any]) -> None:
    header = _headers(image_bytes(Image.new("RGB", (300, 17)), kind, **options)).image
    assert (header.format, header.width, header.height) == (kind, 300, 17)


@pytest.mark.parametrize("size", [(4032, 3024), (8064, 6048), (8192, 6144), (6144, 8192)])
def test_photographs_of_12_to_50_megapixels_are_accepted(size: tuple[int, int]) -> None:
    for progressive in (False, True):
        assert _headers(_jpeg_header(*size, progressive=progressive)).image.decoding_bytes < LIMITS.max_decoding_bytes


@pytest.mark.parametrize(("width", "height"), [(40_000, 1), (1, 40_000), (3300, 100)])
@pytest.mark.parametrize("param", ["image", "mask"])
def test_the_ratio_of_the_sides_is_bounded(width: int, height: int, param: str) -> None:
    strip = png(width, height, b"")
    refusal = _refusal(strip) if param == "image" else _refusal(png(8, 8, b""), strip)
    assert isinstance(refusal, InvalidImage)
    assert (refusal.param, refusal.code) == (param, "invalid_image_ratio")
    assert refusal.message == (
        f"{param} has {width}x{height} pixels; a side may be at most 32 times as long as the other."
    )


def test_what_takes_more_memory_than_there_may_be_is_refused() -> None:
    webp = image_bytes(Image.new("RGB", (1000, 1000)), "WEBP")
    refusal = _refusal(webp, limits=ImageLimits(52_000_000, 32, 20 * MIB))
    assert isinstance(refusal, RequestTooLarge)
    assert refusal.message == (
        "image has 1000x1000 pixels, and takes up to 24 MiB to decode; at most 20 are allowed. "
        "Send it smaller, or as PNG."
    )
    same = image_bytes(Image.new("RGB", (1000, 1000)), "PNG")
    assert _headers(same, limits=ImageLimits(52_000_000, 32, 20 * MIB)).image.format == "PNG"


def test_image_and_mask_count_together() -> None:
    white = image_bytes(Image.new("L", (1000, 1000)))
    refusal = _refusal(white, white, ImageLimits(52_000_000, 32, 17 * MIB))
    assert isinstance(refusal, RequestTooLarge)
    assert refusal.message.startswith("image and mask take up to 19 MiB to decode; at most 17 are allowed.")


@pytest.mark.parametrize(
    ("content", "bytes_for_a_pixel"),
    [
        (_jpeg_header(4000, 4000), 8),
        (_jpeg_header(4000, 4000, progressive=True), 8),  # 4:2:0: 4 for the image, 3 for its coefficients
        (_jpeg_header(4000, 4000, progressive=True, subsampling=0), 10),
        (_jpeg_header(4000, 4000, "CMYK", progressive=True, subsampling=0), 12),
        (png(4000, 4000, b""), 8),
    ],
    ids=["jpeg", "4:2:0", "4:4:4", "cmyk", "png"],
)
def test_the_memory_follows_from_the_header(content: bytes, bytes_for_a_pixel: int) -> None:
    fixed = 8 * MIB + 2 * len(content)
    assert _headers(content).image.decoding_bytes == bytes_for_a_pixel * 16_000_000 + fixed


@pytest.mark.parametrize("turned", [False, True])
def test_the_size_is_judged_before_anything_is_decoded(turned: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    whole = image_bytes(Image.effect_noise((64, 32), 50), "JPEG", exif=exif)
    asked: list[Resolution] = []

    def refuse(size: Resolution) -> NoReturn:
        asked.append(size)
        raise InvalidRequest("no")

    cut = whole[: len(whole) // 2]  # it cannot be decoded
    with pytest.raises(InvalidRequest, match=r"^no$"):
        encode_inputs(_headers(cut), refuse)
    assert asked == [Resolution(32, 64) if turned else Resolution(64, 32)]


def test_a_png_says_behind_its_pixels_which_way_is_up() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = b"".join(b"\0" + bytes(3 * 8) for _ in range(4))
    plain = png(8, 4, rows)
    late = plain[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + plain[-12:]
    assert encode_inputs(_headers(late), lambda size: (size, "stretch")).size == Resolution(4, 8)


def test_texts_and_frames_of_a_png_are_not_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animated = image_bytes(frames[0], save_all=True, append_images=frames[1:])
    with_text = animated[:33] + chunk(b"tEXt", b"k\0" + bytes(100_000)) + animated[33:]
    kept = still_png(with_text)
    assert {part.name for part in png_chunks(kept)} == {b"IHDR", b"IDAT", b"IEND"}
    assert encode_inputs(_headers(with_text), lambda size: (size, "stretch")).size == Resolution(8, 8)


def test_a_second_header_is_not_believed() -> None:
    first = png(8, 8, bytes(200))
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    liar = first[:33] + second + first[33:]
    with pytest.raises(InvalidImage):
        encode_inputs(_headers(liar), lambda size: (size, "stretch"))


def test_a_server_without_the_decoder_of_heic_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package was left out of an installation; the checks before it go on."""
    monkeypatch.setattr(image_headers, "HAS_HEIC_DECODER", False)
    content = (Path(__file__).parent / "pictures" / "plain.heic").read_bytes()
    with pytest.raises(InvalidImage) as refusal:
        read_headers(content, None, LIMITS)
    assert refusal.value.message.startswith("image is HEIC, and this server lacks the decoder (the package pi-heif).")
