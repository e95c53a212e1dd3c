"""Images with more or less in their files than pixels: texts, what programs store, no end, other bytes, a cut."""

import base64
import json
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from graphs.errors import InvalidImage
from graphs.requests.image_headers import READ, ImageLimits, read_headers
from graphs.requests.input_images import encode_inputs
from tests.fuzz.hostile_images import chunk
from tests.support.images import image_bytes, pixels

MIB = 2**20
LIMITS = ImageLimits(1_000_000, max_side_ratio=32, max_decoding_bytes=2**30)
NOISE = Image.effect_noise((100, 90), 60).convert("RGB")
JPEGS: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_blocks": 3}]
WORKFLOW = json.dumps([{"node": number, "value": os.urandom(20).hex()} for number in range(60_000)]).encode()


def _read(image: bytes) -> bytes:
    found = encode_inputs(read_headers(image, None, LIMITS), lambda size: (size, "stretch"))
    return pixels(found.image).tobytes()


def _message(image: bytes) -> str:
    with pytest.raises(InvalidImage) as refusal:
        _read(image)
    assert (refusal.value.param, refusal.value.code) == ("image", "invalid_image_format")
    return str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"workflow\0" + WORKFLOW),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
        chunk(b"iTXt", b"workflow\0\0\0\0\0" + WORKFLOW),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0x-default\0\0" + WORKFLOW),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0x-default\0\0" + zlib.compress(bytes(100 * MIB))),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(100 * MIB))),
        chunk(b"eXIf", b"II*\0" + bytes(4 * MIB)),
    ],
    ids=["tEXt", "zTXt", "iTXt", "XMP", "packed XMP", "packed EXIF", "EXIF"],
)
def test_a_png_with_megabytes_of_text_is_a_picture(text: bytes) -> None:
    whole = image_bytes(NOISE)
    for content in (whole[:33] + text + whole[33:], whole[:-12] + text + whole[-12:]):
        assert _read(content) == NOISE.tobytes()


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEB, 0xFE])
@pytest.mark.parametrize("begin", [b"", b"Exif\0\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"])
def test_a_jpeg_with_megabytes_of_what_programs_store_is_a_picture(marker: int, begin: bytes) -> None:
    data = begin + os.urandom(60_000)
    whole = image_bytes(NOISE, "JPEG")
    stored = (b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data) * 300
    assert _read(whole[:2] + stored + whole[2:]) == pixels(whole).tobytes()


def test_a_jpeg_keeps_which_way_is_up_and_its_profile() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = image_bytes(NOISE, "JPEG", exif=exif)
    assert _read(whole) == pixels(image_bytes(NOISE, "JPEG"))[::-1, ::-1].tobytes()


@pytest.mark.parametrize("options", JPEGS)
def test_a_jpeg_without_its_end_is_a_picture(options: dict[str, Any]) -> None:
    whole = image_bytes(NOISE, "JPEG", **options)
    for content in (whole[:-2], whole[:-1], whole[:-2] + b"\xff"):
        assert _read(content) == pixels(whole).tobytes()


def test_a_png_without_its_end_is_a_picture() -> None:
    whole = image_bytes(NOISE)
    for cut in (1, 4, 8, 12):
        assert _read(whole[:-cut]) == NOISE.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_bytes_behind_a_picture_are_left_out(kind: str) -> None:
    whole = image_bytes(NOISE, kind)
    assert _read(whole + os.urandom(MIB)) == pixels(whole).tobytes()


def _cuts() -> Iterator[Any]:
    for options in JPEGS:
        for image, name in ((NOISE, "noise"), (Image.new("RGB", NOISE.size, "red"), "red")):
            if options == {"progressive": True} and name == "red":
                continue  # its last scan has hardly a byte
            yield pytest.param(image_bytes(image, "JPEG", **options), id=f"JPEG {options} {name}")
    yield pytest.param(image_bytes(NOISE), id="PNG")
    yield pytest.param(image_bytes(Image.new("RGB", (900, 900), "red")), id="PNG red")
    yield pytest.param(image_bytes(NOISE, "WEBP"), id="WEBP")


@pytest.mark.parametrize("whole", list(_cuts()))
def test_a_cut_picture_is_incomplete_or_has_all_its_pixels(whole: bytes) -> None:
    """Nothing that a decoder made up is drawn."""
    expected = pixels(whole).tobytes()
    # A progressive image that was cut exactly between two scans is only coarser: its last scan is cut here.
    begin = whole.rindex(b"\xff\xda") + 14 if whole.startswith(b"\xff\xd8") else 60
    incomplete = 0
    for end in range(begin, len(whole), max(1, (len(whole) - begin) // 150)):
        try:
            assert _read(whole[:end]) == expected, end
        except InvalidImage as refusal:
            assert str(refusal) == "image is incomplete: the file ends before the picture does. Send the whole file."
            incomplete += 1
    assert incomplete > 5


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (image_bytes(NOISE, "ICO"), "an ICO image"),
        (image_bytes(NOISE, "JPEG2000"), "a JPEG 2000 image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "an MP4 or QuickTime video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a raw image of a camera"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\xff\x0a\x10\x10", "a JPEG XL image"),
        ("ein Stern, rot und größer".encode(), "text"),
        (b'{"prompt": "a star"}', "text"),
        (base64.b64encode(image_bytes(NOISE)), "text in base64"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"\n<!doctype html><title>Sign in</title>", "an HTML or XML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop document (PSD)"),
        (b"PK\3\4", "a ZIP archive or an office document"),
        (b"RIFF\0\0\0\0AVI LIST", "an AVI video"),
        (b"data:image/png;base64,iVBORw0KGgo=", "the text of a data URL"),
    ],
)
def test_the_error_names_the_kind_of_what_is_not_read(content: bytes, kind: str) -> None:
    assert _message(content) == f"image is {kind}, which is not read here. {READ}"
