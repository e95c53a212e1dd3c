"""Colours of input images: what their ICC profile says, and what happens to a profile that cannot be used."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from graphs.requests.image_colour import MOST_PROFILE_BYTES
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import encode_inputs
from tests.fuzz.hostile_images import chunk
from tests.support.images import image_bytes, pixels

PICTURES = Path(__file__).parent / "pictures"
LIMITS = ImageLimits(1_000_000, max_side_ratio=32, max_decoding_bytes=2**30)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = Image.open(io.BytesIO((PICTURES / "p3.png").read_bytes())).info["icc_profile"]
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def _read(image: bytes, mask: bytes | None = None) -> Image.Image:
    found = encode_inputs(read_headers(image, mask, LIMITS), lambda size: (size, "stretch"))
    return Image.open(io.BytesIO(found.image if mask is None else found.mask or b""))


def _first(image: Image.Image) -> tuple[int, ...]:
    return tuple(image.convert("RGB").tobytes()[:3])


def _noise() -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise((700, 500), deviation) for deviation in (40, 80, 120)])


def _by_pillow(image: Image.Image, profile: bytes) -> Image.Image:
    """The whole image at once, by the interface of Pillow that image_colour.py does not use."""
    converted = ImageCms.profileToProfile(
        image,
        io.BytesIO(profile),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return converted


def test_display_p3_becomes_srgb_in_every_strip() -> None:
    """The red of 220, 30, 30 in Display P3 lies outside sRGB: more red, no blue or green."""
    assert _read((PICTURES / "p3.png").read_bytes()).getpixel((0, 0)) == (240, 0, 0)
    image = _noise()
    found = _read(image_bytes(image, icc_profile=P3))
    assert found.tobytes() == _by_pillow(image, P3).tobytes()
    assert found.tobytes() != image.tobytes()


@pytest.mark.parametrize("name", ["adobe.png", "swapped.png"])
def test_the_profile_says_what_the_numbers_are(name: str) -> None:
    content = (PICTURES / name).read_bytes()
    stored = Image.open(io.BytesIO(content))
    assert _read(content).tobytes() == _by_pillow(stored, stored.info["icc_profile"]).tobytes()
    assert _read(content).tobytes() != stored.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_jpeg_and_webp_carry_profiles_too(kind: str) -> None:
    content = image_bytes(_noise(), kind, icc_profile=P3)
    assert _read(content).tobytes() == _by_pillow(Image.open(io.BytesIO(content)), P3).tobytes()


def test_srgb_keeps_its_numbers() -> None:
    image = _noise()
    assert _read(image_bytes(image, icc_profile=SRGB)).tobytes() == image.tobytes()
    assert _read((PICTURES / "srgb.png").read_bytes()).getpixel((0, 0)) == (220, 30, 30)


def test_transparency_of_an_image_with_a_profile_lies_on_white() -> None:
    """As an RGBA image, and as a palette."""
    image = Image.new("RGBA", (2, 1), (220, 30, 30, 255))
    image.putpixel((1, 0), (220, 30, 30, 0))
    palette = Image.new("P", (2, 1))
    palette.putpalette([220, 30, 30, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    for content in (image_bytes(image, icc_profile=P3), image_bytes(palette, icc_profile=P3, transparency=1)):
        assert list(_read(content).get_flattened_data()) == [(240, 0, 0), (255, 255, 255)]


def test_colours_of_16_bits_with_a_profile() -> None:
    rows = b"\0" + struct.pack(">6H", *(220 * 257, 30 * 257, 30 * 257) * 2)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(P3))
    assert _read(b"\x89PNG\r\n\x1a\n" + head + data).getpixel((0, 0)) == (220, 30, 30)
    assert _read(b"\x89PNG\r\n\x1a\n" + head + profile + data).getpixel((1, 0)) == (240, 0, 0)


def test_cmyk_without_a_profile_is_read() -> None:
    """Programs of Adobe store the numbers of CMYK inverted, and Pillow turns them back."""
    assert _first(_read((PICTURES / "cmyk.jpg").read_bytes())) == (220, 30, 30)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2.4 (ICC.1:2001-04, section 6)."""
    white = struct.pack(">3i", 63190, 65536, 54061)
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">4xI", 0x02400000) + kind + space + connection + bytes(12) + b"acsp" + bytes(28) + white
    return struct.pack(">I", 128 + len(table) + len(data)) + head.ljust(124, b"\0") + table + data


def _grey_profile() -> bytes:
    """Grey whose numbers are light itself (a gamma of 1)."""
    curve = b"curv" + struct.pack(">4xIH", 1, 256) + bytes(2)
    white = b"XYZ " + struct.pack(">4x3i", 63190, 65536, 54061)
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": curve})


def _cmyk_profile() -> bytes:
    """A press whose cyan ink is as black as its black one, and whose magenta and yellow inks print nothing."""
    straight = bytes(range(256))
    corners = b"".join(
        bytes((0 if cyan or black else 255, 128, 128)) for cyan in (0, 1) for _ in range(4) for black in (0, 1)
    )
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + straight * 4 + corners + straight * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


def test_grey_with_a_profile() -> None:
    """0.5 of the light is 188 in sRGB (IEC 61966-2-1), in 8 bits, in 16, and beside an alpha channel."""
    deep = Image.frombytes("I;16", (1, 1), struct.pack("<H", 128 * 257))
    for image in (Image.new("L", (1, 1), 128), Image.new("LA", (1, 1), (128, 255)), deep):
        found = _read(image_bytes(image, icc_profile=_grey_profile())).getpixel((0, 0))
        assert found == (188, 188, 188), image.mode


def test_cmyk_with_its_profile() -> None:
    image = Image.new("CMYK", (32, 16), (0, 255, 255, 0))
    image.paste((255, 0, 0, 0), (0, 0, 16, 16))
    found = _read(image_bytes(image, "JPEG", icc_profile=_cmyk_profile(), quality=100))
    assert max(_first(found)) < 8
    assert min(_first(found.rotate(180))) > 247
    red, green, _ = _first(_read(image_bytes(image, "JPEG", quality=100)).rotate(180))
    assert red > 247 > 8 > green


def test_the_numbers_of_a_mask_are_no_colours() -> None:
    mask = Image.new("L", (700, 500), 128)
    assert _read(image_bytes(_noise()), image_bytes(mask.convert("RGB"), icc_profile=P3)).tobytes() == mask.tobytes()


UNUSABLE = {
    "text": b"garbage" * 1000,
    "cut": P3[:300],
    "of another colour space": LAB,
    "with a header that lies": P3[:16] + b"CMYK" + P3[20:],
    "with a table beyond its end": P3[:128] + b"\xff" * 12 + P3[140:],
    "too large": P3 + bytes(MOST_PROFILE_BYTES),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", list(UNUSABLE))
def test_a_profile_that_cannot_be_used_is_left_out(kind: str, name: str) -> None:
    image = _noise()
    found = _read(image_bytes(image, kind, icc_profile=UNUSABLE[name]))
    assert found.tobytes() == pixels(image_bytes(image, kind)).tobytes()


@pytest.mark.parametrize("packed", [b"no zlib", zlib.compress(bytes(200_000_000), 9)])
def test_a_packed_profile_that_unpacks_to_nothing_or_to_much_is_left_out(packed: bytes) -> None:
    whole = image_bytes(_noise())
    content = whole[:33] + chunk(b"iCCP", b"p\0\0" + packed) + whole[33:]
    assert _read(content).tobytes() == pixels(whole).tobytes()
