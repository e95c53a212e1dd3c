"""What is outside a mask keeps the pixels of the input image, bit for bit."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from graphs.families.family import Operation
from graphs.requests.image_fit import IMAGE_FITS, ImageFit, fitted_image
from graphs.resolution import Resolution
from tests.support.images import image_bytes
from tests.workers.engine.engine_support import Engines, make_request, never_stop
from workers.engine.images import decode_inputs
from workers.engine.mask_composite import composited, mask_weights
from workers.engine.protocol import InputImages, Pixels

SIDE = 64


def _distances(mask: Pixels) -> npt.NDArray[np.int64]:
    """Return how far each pixel is from the mask, as the larger of the distances across and down."""
    rows, columns = np.nonzero(mask >= 128)
    places = np.indices(mask.shape)
    apart = np.maximum(np.abs(places[0][..., None] - rows), np.abs(places[1][..., None] - columns))
    distances: npt.NDArray[np.int64] = apart.min(axis=-1)
    return distances


@pytest.mark.parametrize("feather_px", [0, 1, 2, 7, 8, 40])
def test_weights_end_at_the_feather_and_fall_with_the_distance(feather_px: int) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:20, 10:30] = 255  # at an edge of the image
    weights, distances = mask_weights(mask, feather_px), _distances(mask)
    assert (weights[mask == 255] == 1).all()
    assert (weights[distances > feather_px] == 0).all()
    along_a_row = weights[5, 29:]
    assert (np.diff(along_a_row) <= 0).all()
    assert np.abs(np.diff(along_a_row)).max() <= 2 / max(2, feather_px)


def test_a_soft_mask_repaints_what_the_runtime_repaints() -> None:
    mask = np.array([[0, 127, 128, 255]], np.uint8)
    image, drawn = (np.full((1, 4, 3), value, np.uint8) for value in (10, 200))
    assert composited(drawn, InputImages(image, mask), 0)[0, :, 0].tolist() == [10, 10, 200, 200]


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("fit", IMAGE_FITS)
def test_the_outside_of_an_inpainted_image_is_the_fitted_input(engines: Engines, family: str, fit: ImageFit) -> None:
    loaded = engines.of(family)
    feather_px = 6
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (48, 90, 3), dtype=np.uint8))
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (35, 10, 55, 30))
    size = Resolution(SIDE, SIDE)
    inputs = decode_inputs(image_bytes(picture), image_bytes(mask), size, fit)
    request = make_request(loaded.facts, Operation.INPAINTING, image_fit=fit)
    drawn = loaded.engine.generate(request, inputs, never_stop).images[0]

    image = composited(drawn, inputs, feather_px)

    fitted = np.array(fitted_image(picture, size, fit))
    assert inputs.mask is not None
    distances = _distances(inputs.mask)
    outside = distances > feather_px
    assert outside.sum() > SIDE
    assert np.array_equal(image[outside], fitted[outside])
    assert not np.array_equal(drawn[outside], fitted[outside]), "without it, the outside changes"
    assert np.array_equal(image[distances == 0], drawn[distances == 0])
