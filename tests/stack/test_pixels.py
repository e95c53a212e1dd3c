"""The image is exactly what the model makes: the service against openvino_genai itself, in f32."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import openvino_genai as genai
import pytest
from PIL import Image

from graphs.repository.bundled import bundled_model_path
from tests.support.images import image_bytes, pixels
from tests.support.service import Service

PROMPT = "a yellow star on a purple background"
SEED, STEPS = 1234, 12
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def image() -> Iterator[Image.Image]:
    """A drawn input image: a red square on green."""
    image = Image.new("RGB", (128, 128), (40, 160, 60))
    image.paste((200, 30, 30), (40, 40, 90, 90))
    yield image


@pytest.fixture(scope="module")
def mask() -> Image.Image:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    return mask


def _tensor(image: Image.Image) -> ov.Tensor:
    return ov.Tensor(np.array(image.convert("RGB"))[None])


def _served(service: Service, route: str, **fields: Any) -> npt.NDArray[np.uint8]:
    common = {"prompt": PROMPT, "seed": SEED, "num_inference_steps": STEPS}
    if route == "generations":
        answer = service.http.post("/v3/images/generations", json={**common, **fields})
    else:
        files = {name: value for name, value in fields.items() if isinstance(value, bytes)}
        form = {name: str(value) for name, value in {**common, **fields}.items() if name not in files}
        answer = service.http.post("/v3/images/edits", data=form, files=files)
    assert answer.status_code == 200, answer.text
    return pixels(base64.b64decode(answer.json()["data"][0]["b64_json"]))


@pytest.mark.parametrize("fields", [{}, {"guidance_scale": 4.0, "negative_prompt": "red"}, {"guidance_scale": 1.0}])
def test_text_to_image_is_identical(service: Service, fields: dict[str, Any]) -> None:
    pipeline = genai.Text2ImagePipeline(bundled_model_path(), "CPU", **PROPERTIES)
    expected = pipeline.generate(
        PROMPT, width=128, height=128, rng_seed=SEED, num_inference_steps=STEPS, **fields
    ).data[0]
    assert np.array_equal(_served(service, "generations", **fields), expected)


@pytest.mark.parametrize("fields", [{"strength": 0.6}, {}])
def test_image_to_image_is_identical(service: Service, image: Image.Image, fields: dict[str, Any]) -> None:
    pipeline = genai.Image2ImagePipeline(bundled_model_path(), "CPU", **PROPERTIES)
    expected = pipeline.generate(PROMPT, _tensor(image), rng_seed=SEED, num_inference_steps=STEPS, **fields).data[0]
    assert np.array_equal(_served(service, "edits", image=image_bytes(image), **fields), expected)


def test_inpainting_is_identical(service: Service, image: Image.Image, mask: Image.Image) -> None:
    pipeline = genai.InpaintingPipeline(bundled_model_path(), "CPU", **PROPERTIES)
    expected = pipeline.generate(
        PROMPT, _tensor(image), _tensor(mask), rng_seed=SEED, num_inference_steps=STEPS, strength=0.8
    ).data[0]
    served = _served(service, "edits", image=image_bytes(image), mask=image_bytes(mask), strength=0.8)
    assert np.array_equal(served, expected)


def test_n_images_are_those_of_one_batch(service: Service) -> None:
    pipeline = genai.Text2ImagePipeline(bundled_model_path(), "CPU", **PROPERTIES)
    expected = pipeline.generate(
        PROMPT, width=128, height=128, rng_seed=SEED, num_inference_steps=STEPS, num_images_per_prompt=3
    ).data
    body = {"prompt": PROMPT, "seed": SEED, "num_inference_steps": STEPS, "n": 3}
    data = service.http.post("/v3/images/generations", json=body).json()["data"]
    served = [np.array(Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))) for item in data]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(served, expected, strict=True))
