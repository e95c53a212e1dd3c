"""Requests with and without guidance in any order draw what pipelines draw that know only one of the two."""

from functools import lru_cache

import numpy as np
import pytest

from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS, draw, load_engine, make_graph, make_request
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Pixels

pytestmark = pytest.mark.usefixtures("openvino_runtime")

GUIDANCE_FIRST = (7.0, 1.0, 0.0, 3.0, 1.0)
NO_GUIDANCE_FIRST = (0.5, 1.0, 4.0, 1.0, 7.0)
CASES = [
    ("sd3", NO_GUIDANCE_FIRST, Operation.GENERATION),
    pytest.param("sd3", GUIDANCE_FIRST, Operation.GENERATION, marks=pytest.mark.thorough),
    pytest.param("sd3", NO_GUIDANCE_FIRST, Operation.EDIT, marks=pytest.mark.thorough),
    pytest.param("sd3", GUIDANCE_FIRST, Operation.INPAINTING, marks=pytest.mark.thorough),
    pytest.param("sdxl", NO_GUIDANCE_FIRST, Operation.GENERATION, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("family", "order", "operation"), CASES)
def test_any_order(family: str, order: tuple[float, ...], operation: Operation) -> None:
    mixed = load_engine(make_graph(MODELS / family))

    for number, scale in enumerate(order):
        prompt = f"a red fox in field {number}"
        drawn = images(mixed, family, operation, scale, prompt)
        alone = images(engine_for(family, scale > 1), family, operation, scale, prompt)
        np.testing.assert_array_equal(drawn, alone, err_msg=f"guidance scale {scale} as number {number}")


@lru_cache(maxsize=4)
def engine_for(family: str, guided: bool) -> OpenVinoEngine:
    """Return an engine for requests with guidance only, or for those without."""
    return load_engine(make_graph(MODELS / family))


def images(engine: OpenVinoEngine, family: str, operation: Operation, scale: float, prompt: str) -> Pixels:
    """Return two images, ``uint8 [2, height, width, 3]``."""
    facts = read_model_facts(MODELS / family)
    changes = {"guidance_scale": scale, "prompt": prompt, "num_images_per_prompt": 2}
    return np.stack(draw(engine, make_request(facts, operation, **changes)).images)
