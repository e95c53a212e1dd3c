"""Every size that a request may ask for is drawn, by each family; ``python -m benchmarks.sizes`` tries them all."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from graphs.errors import InvalidRequest, RepositoryError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.repository.bundled import bundled_model_path
from graphs.repository.served_facts import read_served_facts
from graphs.requests.request import GenerationParameters
from graphs.requests.sizes import resolve_size
from graphs.resolution import Resolution
from tests.workers.engine.engine_support import FAMILIES, MODELS, draw, load_engine, make_graph, make_request
from tests.workers.engine.scaled_unet import make_scaled_model
from tools.demo_model.skip_sizes import take_skip_sizes
from workers.engine.openvino_engine import OpenVinoEngine

pytestmark = pytest.mark.usefixtures("openvino_runtime")

STEPS_OF_SIDE = (1, 3, 5, 8)


def test_the_bundled_model_draws_any_multiple_of_8() -> None:
    """Forty of the 1,024 sizes from 8x8 to 256x256."""
    chosen = np.random.default_rng(40).integers(1, 33, size=(40, 2)) * 8
    engine = load_engine(make_graph(bundled_model_path()))
    for width, height in [(8, 8), (200, 200), (256, 8), *chosen.tolist()]:
        _draw(engine, bundled_model_path(), Operation.GENERATION, width, height)


@pytest.mark.thorough
@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_over_a_grid(family: str, operation: Operation) -> None:
    multiple = read_model_facts(MODELS / family).size_multiple
    engine = load_engine(make_graph(MODELS / family))
    for width in STEPS_OF_SIDE:
        for height in STEPS_OF_SIDE:
            _draw(engine, MODELS / family, operation, width * multiple, height * multiple)


def test_a_model_that_doubles_is_asked_for_what_it_can_draw(tmp_path: Path) -> None:
    """At the sizes that it draws, the bundled model draws the same; the others are refused with the nearest."""
    scaled = make_scaled_model(tmp_path)
    facts = read_model_facts(scaled)
    assert (facts.size_multiple, read_model_facts(bundled_model_path()).size_multiple) == (32, 8)
    engines = [(path, load_engine(make_graph(path))) for path in (scaled, bundled_model_path())]
    for side in ((32, 32), (96, 64), (128, 256)):
        first, second = (_draw(engine, path, Operation.GENERATION, *side) for path, engine in engines)
        np.testing.assert_array_equal(first, second)

    refused = GenerationParameters(prompt="a", width=300, height=300)
    with pytest.raises(InvalidRequest, match=r"multiples of 32 .* the nearest is 288x288\."):
        resolve_size(refused, make_graph(scaled, max_resolution=Resolution(512, 512)), facts, None)


@pytest.mark.parametrize(
    ("option", "value"), [("default_resolution", Resolution(200, 200)), ("resolution", (Resolution(64, 72),))]
)
def test_a_graph_that_promises_what_its_model_cannot_draw_is_not_served(
    tmp_path: Path, option: str, value: Resolution | tuple[Resolution, ...]
) -> None:
    graph = make_graph(make_scaled_model(tmp_path), **{option: value})
    with pytest.raises(RepositoryError, match=rf"{option} has .*multiples of 32\. The nearest is \d+x\d+\."):
        read_served_facts(graph)


def test_the_exporter_gives_upsampling_layers_the_size_of_their_skip_connection(tmp_path: Path) -> None:
    scaled = make_scaled_model(tmp_path) / "unet" / "openvino_model.xml"
    network = openvino.Core().read_model(scaled)
    assert take_skip_sizes(network) == 2
    compiled = openvino.compile_model(network, "CPU")
    for height, width in ((25, 25), (1, 1), (3, 7)):
        inputs = {
            "sample": np.ones((2, 4, height, width), np.float32),
            "timestep": np.array([500, 500]),
            "encoder_hidden_states": np.ones((2, 77, 128), np.float32),
        }
        assert compiled(inputs)[0].shape == (2, 4, height, width)


def _draw(engine: OpenVinoEngine, model: Path, operation: Operation, width: int, height: int) -> np.ndarray:
    facts = read_model_facts(model)
    steps = 4 if operation is not Operation.GENERATION else 1
    (image,) = draw(
        engine, make_request(facts, operation, width=width, height=height, num_inference_steps=steps)
    ).images
    assert image.shape == (height, width, 3), (width, height)
    return image
