"""Input images and masks at the size that is drawn."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphs.requests.image_fit import IMAGE_FITS, ImageFit, fitted_image, fitted_mask
from graphs.resolution import Resolution

R = Resolution
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def _halves(width: int, height: int, *, upright: bool = False) -> Image.Image:
    """Return an image whose left (upper) half is black and the other one red."""
    image = Image.new("RGB", (width, height))
    image.paste((255, 0, 0), (0, height // 2, width, height) if upright else (width // 2, 0, width, height))
    return image


@pytest.mark.parametrize("fit", IMAGE_FITS)
@pytest.mark.parametrize("size", [R(64, 64), R(8, 200), R(200, 8), R(1, 1), R(97, 31)])
@pytest.mark.parametrize("source", [R(64, 64), R(4000, 10), R(10, 4000), R(1, 1)])
def test_images_and_masks_get_exactly_the_size(fit: ImageFit, size: Resolution, source: Resolution) -> None:
    image = Image.new("RGB", (source.width, source.height), "red")
    assert fitted_image(image, size, fit).size == (size.width, size.height)
    for sides in ((source.width, source.height), (7, 13)):
        assert fitted_mask(Image.new("L", sides, 255), source, size, fit).size == (size.width, size.height)


def test_an_image_of_the_size_stays_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    for fit in IMAGE_FITS:
        np.testing.assert_array_equal(np.array(fitted_image(Image.fromarray(noise), R(48, 32), fit)), noise)


def test_stretch_keeps_all_of_the_image() -> None:
    stretched = np.array(fitted_image(_halves(200, 100), R(64, 64), "stretch"))
    assert tuple(stretched[32, 2]) == BLACK
    assert tuple(stretched[32, 61]) == (255, 0, 0)


def test_crop_keeps_the_middle_in_its_shape() -> None:
    """Of 400x100, the middle 100 columns are kept: half of them black."""
    cropped = np.array(fitted_image(_halves(400, 100), R(64, 64), "crop"))
    assert tuple(cropped[32, 28]) == BLACK
    assert tuple(cropped[32, 36]) == (255, 0, 0)
    cropped = np.array(fitted_image(_halves(100, 400, upright=True), R(64, 64), "crop"))
    assert tuple(cropped[28, 32]) == BLACK


def test_pad_keeps_all_of_the_image_in_its_shape_between_white_borders() -> None:
    padded = np.array(fitted_image(_halves(200, 100), R(64, 64), "pad"))
    assert [tuple(padded[row, 4]) for row in (4, 32, 60)] == [WHITE, BLACK, WHITE]
    assert tuple(padded[32, 60]) == (255, 0, 0)


@pytest.mark.parametrize("mask_size", [(200, 100), (50, 50)])
def test_a_mask_follows_its_image(mask_size: tuple[int, int]) -> None:
    """The right half of the mask is white, and the mask may have another shape than its image; borders are black."""
    mask = Image.new("L", mask_size)
    mask.paste(255, (mask_size[0] // 2, 0, *mask_size))
    padded = np.array(fitted_mask(mask, R(200, 100), R(64, 64), "pad"))
    assert [padded[row, 60] for row in (4, 32, 60)] == [0, 255, 0]
    assert padded[32, 4] == 0
    cropped = np.array(fitted_mask(mask, R(200, 100), R(64, 64), "crop"))
    assert (cropped[32, 28], cropped[32, 36]) == (0, 255)


def test_the_width_is_resized_before_the_height() -> None:
    """As the runtime does it; Pillow itself begins with the height where that is much larger."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 96, 3), dtype=np.uint8))
    wanted = noise.resize((64, 200), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.array(fitted_image(noise, R(64, 64), "stretch")), np.array(wanted))


@pytest.mark.parametrize("fit", IMAGE_FITS)
def test_no_image_in_between_is_larger_than_before_and_after(fit: ImageFit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long image with a tall mask, each of which is small, would else be a square of their long sides."""
    made: list[int] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], *more: Any) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", watched)
    fitted_mask(Image.new("L", (30, 900)), R(900, 30), R(64, 64), fit)
    fitted_image(Image.new("RGB", (30, 900)), R(900, 30), fit)
    assert made
    assert max(made) <= 900 * 30
