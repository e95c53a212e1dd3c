"""One service for most of these tests: the bundled model in f32, through Redis, Celery and HTTP."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.service import Service, serving, write_graph

Draw = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _starts_services(processes: None) -> None:
    """Declare, for every test of this folder, that it starts the processes of the service."""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    model = write_graph(folder / "shapes", more='max_resolution: "512x512" default_resolution: "128x128"')
    with serving(folder, "--model_path", str(model)) as running:
        yield running


@pytest.fixture
def draw(service: Service) -> Draw:
    """Draw one image with the OpenAI client and return its bytes."""

    def one(prompt: str = "a red circle on a blue background", **fields: Any) -> bytes:
        response = service.client().images.generate(prompt=prompt, extra_body=fields)
        assert response.data is not None and response.data[0].b64_json is not None
        return base64.b64decode(response.data[0].b64_json)

    return one
