"""The bundled model as ``imagegen serve`` offers it to somebody who gives no option."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types import ImagesResponse
from PIL import Image

from tests.support.images import image_bytes
from tests.support.service import Service, serving

Draw = Callable[..., Image.Image]
SETTINGS = {"num_inference_steps": 12, "guidance_scale": 4}


@pytest.fixture(scope="session")
def demo(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="session")
def client(demo: Service) -> OpenAI:
    return demo.client()


@pytest.fixture(scope="session")
def draw(client: OpenAI) -> Draw:
    """Draw one image; the defaults are 12 steps and guidance 4."""

    def one(prompt: str, model: str = "demo", **fields: Any) -> Image.Image:
        return _image(client.images.generate(prompt=prompt, model=model, extra_body={**SETTINGS, **fields}))

    return one


@pytest.fixture(scope="session")
def edit(client: OpenAI) -> Draw:
    """Edit an image; with a mask its white part is repainted."""

    def one(image: Image.Image, prompt: str, mask: Image.Image | None = None, **fields: Any) -> Image.Image:
        files: dict[str, Any] = {} if mask is None else {"mask": image_bytes(mask)}
        form = {name: str(value) for name, value in {**SETTINGS, **fields}.items()}
        return _image(
            client.images.edit(image=image_bytes(image), prompt=prompt, model="demo", extra_body=form, **files)
        )

    return one


def _image(answer: ImagesResponse) -> Image.Image:
    assert answer.data is not None and answer.data[0].b64_json is not None
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).convert("RGB")
