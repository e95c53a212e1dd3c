"""Requests with and without guidance in any order draw what a new pipeline draws."""

from itertools import product

import numpy as np
import pytest

from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.engine_support import MODELS, draw, load_engine, make_graph, make_request
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.protocol import Pixels

pytestmark = pytest.mark.usefixtures("openvino_runtime")

FAMILIES = ("sd", "sdxl", pytest.param("flux", marks=pytest.mark.thorough), "sd3")
ORDERS = {"guidance first": (7.0, 1.0, 0.0, 3.0, 1.0), "no guidance first": (0.5, 1.0, 4.0, 1.0, 7.0)}
OPERATIONS = [Operation.GENERATION, *(pytest.param(one, marks=pytest.mark.thorough) for one in list(Operation)[1:])]


def images(engine: OpenVinoEngine, family: str, operation: Operation, scale: float, prompt: str) -> list[Pixels]:
    request = make_request(read_model_facts(MODELS / family), operation, guidance_scale=scale, prompt=prompt)
    return draw(engine, request.model_copy(update={"num_images_per_prompt": 2})).images


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_order(family: str, order: tuple[float, ...], operation: Operation) -> None:
    engine = load_engine(make_graph(MODELS / family))
    drawn = [
        images(engine, family, operation, scale, prompt) for scale, prompt in product(order, ("a red fox", "blue sea"))
    ]

    for result, (scale, prompt) in zip(drawn, product(order, ("a red fox", "blue sea")), strict=True):
        alone = images(load_engine(make_graph(MODELS / family)), family, operation, scale, prompt)
        np.testing.assert_array_equal(np.stack(result), np.stack(alone), err_msg=f"{scale} {prompt}")
