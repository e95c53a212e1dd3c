"""GIF and BMP images: what is read of them, and what is refused before it is decoded."""

import struct

import pytest
from PIL import Image

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import encode_inputs
from tests.support.images import image_bytes, pixels

LIMITS = ImageLimits(1_000_000, max_side_ratio=32, max_decoding_bytes=2**30)
NOISE = Image.effect_noise((100, 90), 60).convert("RGB")


def _read(image: bytes) -> bytes:
    found = encode_inputs(read_headers(image, None, LIMITS), lambda size: (size, "stretch"))
    return pixels(found.image).tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_gif_and_bmp_are_read(kind: str, mode: str) -> None:
    content = image_bytes(NOISE.convert(mode), kind)
    assert _read(content) == pixels(content).tobytes()


def test_the_first_frame_of_an_animation_is_read_without_comments() -> None:
    frames = [Image.new("P", (16, 16), number) for number in range(3)]
    content = image_bytes(frames[1], "GIF", save_all=True, append_images=frames, comment=b"x" * 100_000)
    assert _read(content) == pixels(content).tobytes()


def test_a_transparent_gif_lies_on_white() -> None:
    assert set(_read(image_bytes(Image.new("P", (8, 8), 0), "GIF", transparency=0))) == {255}


def test_a_bmp_from_the_top_down_is_read() -> None:
    content = image_bytes(Image.linear_gradient("L").resize((16, 16)).convert("RGB"), "BMP")
    turned = content[:22] + struct.pack("<i", -16) + content[26:]
    assert _read(turned) == pixels(content)[::-1].tobytes()


def test_a_first_frame_beyond_the_screen_enlarges_it() -> None:
    content = image_bytes(NOISE, "GIF")
    for screen in (b"\0\0\0\0", struct.pack("<HH", 8, 8)):
        assert _read(content[:6] + screen + content[10:]) == pixels(content).tobytes()
    frame = content.index(b"\x2c\0\0\0\0") + 1
    huge = content[:frame] + struct.pack("<HHHH", 65000, 65000, 100, 90) + content[frame + 8 :]
    with pytest.raises(RequestTooLarge, match="65100x65090"):
        read_headers(huge, None, LIMITS)


@pytest.mark.parametrize("stated", [0, 2**31])
def test_a_bmp_that_states_another_length_is_read_or_incomplete(stated: int) -> None:
    whole = image_bytes(NOISE, "BMP")
    content = whole[:2] + struct.pack("<I", stated) + whole[6:]
    assert _read(content) == NOISE.tobytes()
    with pytest.raises(InvalidImage, match=r"^image is incomplete: "):
        _read(content[:-1])


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.4, 0.7, 0.95])
def test_a_cut_one_is_incomplete(kind: str, kept: float) -> None:
    whole = image_bytes(NOISE, kind)
    with pytest.raises(InvalidImage, match=r"^image is incomplete: "):
        _read(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a" + b"\xff" * 4 + image_bytes(NOISE, "GIF")[10:],
        image_bytes(NOISE, "BMP")[:18] + struct.pack("<ii", 65535, -65535) + image_bytes(NOISE, "BMP")[26:],
    ],
    ids=["GIF", "BMP"],
)
def test_a_size_is_judged_before_anything_is_decoded(content: bytes) -> None:
    with pytest.raises(RequestTooLarge):
        read_headers(content, None, LIMITS)


def test_what_keeps_python_busy_is_refused() -> None:
    comments = b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe" + b"\1x" * 200_000 + b"\0"
    with pytest.raises(InvalidImage, match="more than 100000 parts"):
        read_headers(comments, None, LIMITS)
    whole = image_bytes(NOISE.convert("L"), "BMP")
    run_lengths = whole[:30] + struct.pack("<I", 1) + whole[34:]
    with pytest.raises(InvalidImage, match="is a BMP image with run lengths"):
        read_headers(run_lengths, None, LIMITS)
