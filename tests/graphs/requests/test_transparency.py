"""Transparent pixels of an edit's image: a hole that is repainted, or pixels that are laid over white."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import EncodedInputs, encode_inputs
from graphs.resolution import Resolution
from tests.support.images import image_bytes

SIZE = (37, 23)  # rows of a mask with one bit a pixel end inside a byte
BOX = (3, 5, 20, 11)


def _picture(alpha: int = 0, size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = BOX) -> Image.Image:
    """Return a red picture whose box has this alpha."""
    image = Image.new("RGBA", size, (200, 10, 20, 255))
    image.paste((1, 2, 3, alpha), box)
    return image


def _mask(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = BOX) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def _encoded(image: bytes, drawn: Resolution | None = None, *, reads_holes: bool = True) -> EncodedInputs:
    limits = ImageLimits(10_000_000, max_side_ratio=32, max_decoding_bytes=2**30)
    return encode_inputs(
        read_headers(image, None, limits), lambda size: (drawn or size, "pad"), reads_holes=reads_holes
    )


def _opened(png: bytes | None) -> Image.Image:
    image = Image.open(io.BytesIO(png or b""))
    image.load()
    return image


def _palette(image: Image.Image) -> Image.Image:
    return image.quantize(8)


@pytest.mark.parametrize("change", [lambda image: image, _palette], ids=["RGBA", "palette"])
def test_pixels_of_alpha_0_are_the_mask(change: Callable[[Image.Image], Image.Image]) -> None:
    inputs = _encoded(image_bytes(change(_picture())))
    assert np.array_equal(np.array(_opened(inputs.mask)), np.array(_mask()))
    assert not inputs.is_flattened
    assert _opened(inputs.image).getpixel((4, 6)) == (255, 255, 255)


def test_a_hole_over_several_strips_is_one_mask() -> None:
    size, box = (1501, 700), (400, 100, 1400, 650)
    found = _opened(_encoded(image_bytes(_picture(size=size, box=box))).mask)
    assert np.array_equal(np.array(found), np.array(_mask(size, box)))


def test_a_hole_is_turned_and_fitted_as_its_image_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    inputs = _encoded(image_bytes(_picture(), exif=exif), Resolution(20, 20))
    upright = _mask().transpose(Image.Transpose.ROTATE_270)
    expected = ImageOps.pad(upright, (20, 20), Image.Resampling.BICUBIC, color=0)
    assert inputs.size == Resolution(23, 37)
    assert np.abs(np.array(_opened(inputs.mask), int) - np.array(expected, int)).mean() < 8


def test_soft_alpha_is_laid_over_white() -> None:
    inputs = _encoded(image_bytes(_picture(alpha=128)))
    assert (inputs.mask, inputs.is_flattened) == (None, True)


def test_a_hole_is_laid_over_white_where_nothing_inpaints() -> None:
    inputs = _encoded(image_bytes(_picture()), reads_holes=False)
    assert (inputs.mask, inputs.is_flattened) == (None, True)
    assert _opened(inputs.image).getpixel((4, 6)) == (255, 255, 255)


@pytest.mark.parametrize("image", [_picture(alpha=255), _picture().convert("RGB")], ids=["RGBA", "RGB"])
def test_an_opaque_image_has_neither(image: Image.Image) -> None:
    inputs = _encoded(image_bytes(image))
    assert (inputs.mask, inputs.is_flattened) == (None, False)
