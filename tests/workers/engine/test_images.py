"""The encoding and decoding of image files."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from graphs.requests.output_formats import OUTPUT_FORMATS, OutputFormat
from graphs.resolution import Resolution
from workers.engine.images import decode_inputs, encode, has_one_value
from workers.engine.protocol import Pixels

SIZE = Resolution(64, 48)


def gradient() -> Pixels:
    rows, columns = np.mgrid[0:48, 0:64]
    return np.stack([rows * 5, columns * 4, rows + columns], axis=-1).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    return encode(pixels, "png", 100)


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_encode(output_format: OutputFormat) -> None:
    pixels = gradient()
    image = Image.open(io.BytesIO(encode(pixels, output_format, 95)))

    assert (image.format, image.mode, image.size) == (output_format.upper(), "RGB", (64, 48))
    error = np.abs(np.asarray(image).astype(int) - pixels).mean()
    assert error == 0 if output_format == "png" else error < 4


def test_images_say_that_they_are_srgb() -> None:
    """The size of a mark is that of the file with it less that without it. Pixels are as they were."""
    plain = Image.fromarray(gradient())
    expected: list[tuple[OutputFormat, dict[str, Any], int]] = [
        ("png", {"compress_level": 3}, 13),
        ("jpeg", {"quality": 90}, 606),
        ("webp", {"quality": 90}, 614),
    ]
    for output_format, options, mark_bytes in expected:
        buffer = io.BytesIO()
        plain.save(buffer, output_format, **options)
        content = encode(gradient(), output_format, 90)
        image = Image.open(io.BytesIO(content))
        assert len(content) == len(buffer.getvalue()) + mark_bytes
        assert image.info.get("srgb") == 0 or _description(image.info["icc_profile"]) == "sRGB built-in"
        assert image.tobytes() == Image.open(buffer).tobytes()


def _description(profile: bytes) -> str | None:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description


@pytest.mark.parametrize("output_format", [name for name, f in OUTPUT_FORMATS.items() if f.has_quality])
def test_compression_sets_the_quality(output_format: OutputFormat) -> None:
    sizes = [len(encode(gradient(), output_format, quality)) for quality in (0, 50, 100)]

    assert sizes == sorted(set(sizes))


def test_decode_inputs_returns_the_encoded_pixels() -> None:
    pixels, mask = gradient(), gradient()[..., 0]
    inputs = decode_inputs(png(pixels), png(mask), SIZE)

    np.testing.assert_array_equal(inputs.image, pixels)
    np.testing.assert_array_equal(inputs.mask, mask)
    assert decode_inputs(png(pixels), None, SIZE).mask is None
    assert inputs.image.dtype == np.uint8


def test_decode_inputs_brings_images_of_older_jobs_to_the_size_that_is_drawn() -> None:
    inputs = decode_inputs(png(gradient()), png(gradient()[..., 0]), Resolution(32, 40))
    assert inputs.mask is not None
    assert (inputs.image.shape, inputs.mask.shape) == ((40, 32, 3), (40, 32))


def test_decode_inputs_refuses_other_formats_than_png() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        decode_inputs(encode(gradient(), "jpeg", 90), None, SIZE)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("size", [(8, 8), (100, 60), (512, 512)])
def test_one_pixel_makes_an_image_of_one_value_a_picture(value: int, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), value, dtype=np.uint8)
    assert has_one_value(image)
    image[-1, -1, 2] = abs(value - 1)
    assert not has_one_value(image)


def test_an_image_of_one_colour_that_is_no_grey_is_an_image() -> None:
    assert not has_one_value(np.full((64, 64, 3), (255, 0, 0), dtype=np.uint8))
