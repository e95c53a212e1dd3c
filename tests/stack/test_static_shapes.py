"""Graphs of one size, of several, and of one batch: what is drawn, and what is refused with its parameter (f32)."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graphs.definition.reader import read_graph
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.resolution import Resolution
from tests.stack.adapter_service import ASKED, OPERATIONS, ask, refused, served_image, tiny
from tests.support.images import pixels
from tests.support.service import Service, serving
from tests.workers.engine.engine_support import CLASSES, F32, MODELS, SIDE, draw_raw, make_request

# The engine draws static graphs in every run (tests/workers/engine/test_pipelines.py); here through the service.
pytestmark = pytest.mark.thorough

GUIDANCE = 5.0
SHAPES = {
    "one": f'resolution: "{SIDE}x{SIDE}" guidance_scale: {GUIDANCE}',
    "plain": f'resolution: "{SIDE}x{SIDE}"',
    "several": f'resolution: "{SIDE}x{SIDE} 96x{SIDE}"',
    "chosen": f'resolution: "{SIDE}x{SIDE} 96x{SIDE}" default_resolution: "96x{SIDE}"',
    "batch": f'resolution: "{SIDE}x{SIDE}" num_images_per_prompt: 2 guidance_scale: {GUIDANCE}',
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shapes")
    for name, options in SHAPES.items():
        tiny(folder / "models" / name, options)
    with serving(folder / "run", "--model_repository_path", str(folder / "models")) as running:
        yield running


def reshaped(operation: Operation, guidance_scale: float, batch: int = 1) -> list[npt.NDArray[np.uint8]]:
    """What GenAI itself draws when it is compiled for one size and batch."""
    pipeline = CLASSES[operation](str(MODELS / "sd"))
    pipeline.reshape(batch, SIDE, SIDE, guidance_scale)
    pipeline.compile("CPU", **F32)
    changes = {"guidance_scale": guidance_scale, "num_images_per_prompt": batch}
    return draw_raw(pipeline, make_request(read_model_facts(MODELS / "sd"), operation, **changes))


def sizes(service: Service, model: str, **fields: Any) -> str:
    body = {name: value for name, value in ASKED.items() if name != "size"} | {"model": model, **fields}
    answer = service.http.post("/v3/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["size"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_graph_of_one_size_draws_what_genai_reshaped_draws(service: Service, operation: Operation) -> None:
    (expected,) = reshaped(operation, GUIDANCE)
    np.testing.assert_array_equal(served_image(service, "one", operation), expected)


def test_a_graph_of_a_batch_draws_it_by_default(service: Service) -> None:
    expected = reshaped(Operation.GENERATION, GUIDANCE, batch=2)
    for answer in (ask(service, "batch"), ask(service, "batch", n=2)):
        drawn = [pixels(base64.b64decode(image["b64_json"])) for image in answer.json()["data"]]
        np.testing.assert_array_equal(drawn, expected)


def test_a_graph_of_a_batch_cannot_edit(service: Service) -> None:
    error = refused(ask(service, "batch", Operation.EDIT, n=2))
    assert error["code"] == "operation_not_available"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_of_several_sizes_is_drawn(service: Service, operation: Operation) -> None:
    for width in (SIDE, 96, SIDE):
        assert served_image(service, "several", operation, size=f"{width}x{SIDE}").shape == (SIDE, width, 3)


def test_without_a_size_the_default_is_drawn(service: Service) -> None:
    """The only resolution is the default as well; of several the first, unless the graph says another."""
    drawn = {model: sizes(service, model) for model in ("one", "several", "chosen", "batch")}
    square = f"{SIDE}x{SIDE}"
    assert drawn == {"one": square, "several": square, "chosen": f"96x{SIDE}", "batch": square}


def test_the_only_resolution_becomes_the_default(tmp_path: Path) -> None:
    one = read_graph(tiny(tmp_path / "one", SHAPES["one"]) / "graph.pbtxt", "one")
    several = read_graph(tiny(tmp_path / "several", SHAPES["several"]) / "graph.pbtxt", "several")
    assert (one.is_static, one.default_resolution) == (True, Resolution(SIDE, SIDE))
    assert (several.is_static, several.default_resolution) == (False, None)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("model", "fields", "param", "says"),
    [
        ("one", {"size": "96x64"}, "size", "this model draws only 64x64"),
        ("several", {"size": "96x96"}, "size", "this model draws only 64x64, 96x64"),
        ("several", {"size": "128x64"}, "size", "this model draws only 64x64, 96x64"),
        ("one", {"n": 2}, "n", "n must be 1"),
        ("one", {"guidance_scale": 7.5}, "guidance_scale", "guidance_scale must be 5"),
        ("plain", {"guidance_scale": 1.0}, "guidance_scale", "guidance_scale must be above 1"),
    ],
)
def test_what_was_not_compiled_is_refused(
    service: Service, operation: Operation, model: str, fields: dict[str, Any], param: str, says: str
) -> None:
    error = refused(ask(service, model, operation, **fields))
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize("n", [1, 3])
def test_another_batch_is_refused(service: Service, n: int) -> None:
    error = refused(ask(service, "batch", n=n))
    assert (error["param"], error["message"]) == ("n", "n must be 2: this model is compiled for that batch.")


def test_the_compiled_guidance_scale_may_be_said_again(service: Service) -> None:
    np.testing.assert_array_equal(served_image(service, "one", guidance_scale=GUIDANCE), served_image(service, "one"))


def test_without_a_compiled_guidance_scale_any_that_guides_is_taken(service: Service) -> None:
    assert ask(service, "plain", guidance_scale=3.0).status_code == 200
