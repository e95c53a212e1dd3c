"""What each ask must bring: drawn here, from the request alone, by the simulated engine."""

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.request.schemas import ImageBody
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts, read_model_facts
from graphs.repository.bundled import load_served
from graphs.repository.repository import Route
from graphs.requests.image_headers import ImageLimits, read_headers
from graphs.requests.input_images import EncodedInputs, encode_inputs
from graphs.requests.request import ResolvedRequest
from graphs.requests.resolve import resolve
from graphs.resolution import Resolution
from tests.faults.plan import Ask, AskKind
from tests.support.images import image_bytes, pixels
from workers.engine.images import decode_inputs
from workers.engine.simulated import SimulatedEngine

_SIDE = 48
_OPERATIONS = {AskKind.EDIT: Operation.EDIT, AskKind.INPAINT: Operation.INPAINTING}
Drawn = npt.NDArray[np.uint8]


def input_png(ask: Ask) -> bytes:
    """The image that an edit is of."""
    noise = np.random.default_rng(ask.seed).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    return image_bytes(Image.fromarray(noise))


def mask_png() -> bytes:
    """A mask that repaints the right half."""
    mask = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    mask[:, _SIDE // 2 :] = 255
    return image_bytes(Image.fromarray(mask))


def expected_request(ask: Ask) -> ResolvedRequest:
    """What the service must make of the ask."""
    route, facts = _served()
    operation = _OPERATIONS.get(ask.kind, Operation.GENERATION)
    parameters = ImageBody.model_validate(ask.body()).parameters()
    size = _inputs(ask).size if ask.is_edit else None
    return resolve(parameters, operation, route, facts, image_size=size)


def expected_images(ask: Ask) -> list[Drawn]:
    """The pixels that the ask must bring."""
    request = expected_request(ask)
    size = Resolution(request.width, request.height)
    inputs = decode_inputs(_inputs(ask).image, _inputs(ask).mask, size) if ask.is_edit else None
    return list(SimulatedEngine(0).generate(request, inputs, lambda step: False).images)


def are_right(ask: Ask, images: list[bytes]) -> bool:
    """Tell whether these encoded images are exactly the ask's."""
    expected = expected_images(ask)
    return len(images) == len(expected) and all(map(_shows, images, expected))


def _shows(image: bytes, expected: Drawn) -> bool:
    found = pixels(image)
    return found.shape == expected.shape and bool((found == expected).all())


def _inputs(ask: Ask) -> EncodedInputs:
    limits = ImageLimits(max_pixels=10**6, max_side_ratio=32, max_decoding_bytes=2**30)
    headers = read_headers(input_png(ask), mask_png() if ask.kind is AskKind.INPAINT else None, limits)
    return encode_inputs(headers, lambda size: (size, "stretch"))


@cache
def _served() -> tuple[Route, ModelFacts]:
    route = load_served().route(None)
    return route, read_model_facts(route.graph.models_path)
