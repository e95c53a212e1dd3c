"""The stock OpenAI client against the running service."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from tests.stack.conftest import Draw
from tests.support.heif_files import coded_picture, grid, heif_file
from tests.support.images import image_bytes, pixels
from tests.support.service import Service

RED, BLUE, WHITE = (220, 40, 40), (50, 80, 210), (240, 240, 240)


def _images(response: ImagesResponse) -> list[bytes]:
    assert response.data is not None
    return [base64.b64decode(item.b64_json or "") for item in response.data]


def _share_near(image: "np.ndarray[Any, Any]", colour: tuple[int, int, int], reach: int = 90) -> float:
    """Return the share of pixels within ``reach`` of a colour."""
    distance = np.linalg.norm(image.astype(float) - np.array(colour, float), axis=-1)
    return float((distance < reach).mean())


def test_a_prompt_is_drawn(service: Service) -> None:
    prompt = "a red circle on a blue background"
    (plain,) = _images(service.client().images.generate(prompt=prompt, model="shapes"))
    assert Image.open(io.BytesIO(plain)).format == "PNG"
    # With a seed: not every random image of this small model shows what was asked for.
    (image,) = _images(service.client().images.generate(prompt=prompt, model="shapes", extra_body={"seed": 7}))
    assert _share_near(pixels(image), BLUE) > 0.5, "the background is blue"
    assert _share_near(pixels(image)[48:80, 48:80], RED) > 0.5, "the middle is red"


def test_models_of_openai_mean_the_only_model(service: Service, draw: Draw) -> None:
    """A stock client needs nothing but the address; requests to DALL-E are answered with URLs, as OpenAI's are."""
    client = service.client()
    listed = [model.id for model in client.models.list()]
    assert listed.index("shapes") < listed.index("dall-e-3")
    response = client.images.generate(prompt="a star", model="gpt-image-1", extra_body={"seed": 5})
    assert _images(response) == [draw("a star", seed=5)]
    (item,) = client.images.generate(prompt="a star", model="dall-e-3", extra_body={"seed": 5}).data or []
    assert item.b64_json is None and item.url is not None
    assert httpx2.get(item.url).content == draw("a star", seed=5)


def test_the_answer_says_what_was_drawn(service: Service) -> None:
    response = service.client().images.generate(prompt="a star", extra_body={"seed": 11})
    assert isinstance(response.created, int)
    assert (response.size, response.output_format, response.background) == ("128x128", "png", "opaque")
    assert response.usage is not None and response.usage.total_tokens == 0
    assert response.model_extra is not None and response.model_extra["seed"] == 11


def test_the_given_size_is_drawn(draw: Draw) -> None:
    assert pixels(draw(size="192x64")).shape == (64, 192, 3)
    assert pixels(draw(width=64)).shape == (128, 64, 3)


def test_n_images_differ_and_the_first_is_that_of_n_1(service: Service, draw: Draw) -> None:
    both = _images(service.client().images.generate(prompt="a green heart", n=2, extra_body={"seed": 3}))
    assert len(both) == 2 and both[0] != both[1]
    assert both[0] == draw("a green heart", seed=3)


@pytest.mark.parametrize("operation", ["generation", "edit"])
def test_n_images_with_a_seed_each_tell_it_and_can_be_drawn_alone(service: Service, draw: Draw, operation: str) -> None:
    def ask(**fields: Any) -> ImagesResponse:
        images = service.client().images
        if operation == "generation":
            return images.generate(prompt="a green heart", extra_body=fields)
        return images.edit(image=before, prompt="a green heart", extra_body=fields)

    before = draw(seed=5)
    three = ask(n=3, seed=3, seeds="each")
    assert three.data is not None
    seeds = [(item.model_extra or {})["seed"] for item in three.data]
    assert seeds == [3, 4, 5]
    assert _images(three) == [_images(ask(seed=seed))[0] for seed in seeds]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(draw: Draw) -> None:
    first = draw(seed=5)
    assert first == draw(rng_seed=5)
    assert first != draw(seed=6)


def test_without_a_seed_images_differ_and_the_reported_seed_repeats_them(service: Service, draw: Draw) -> None:
    responses = [service.client().images.generate(prompt="a cross") for _ in range(2)]
    first, second = (_images(response)[0] for response in responses)
    assert first != second
    assert responses[0].model_extra is not None
    assert draw("a cross", seed=responses[0].model_extra["seed"]) == first


@pytest.mark.parametrize("image_field", ["single", "list"])
def test_an_edit_keeps_what_low_strength_leaves(service: Service, draw: Draw, image_field: str) -> None:
    before = draw(seed=5)
    image: Any = before if image_field == "single" else [before]
    response = service.client().images.edit(
        image=image, prompt="a red circle on a blue background", extra_body={"strength": 0.3}
    )
    after = pixels(_images(response)[0])
    assert 0 < np.abs(after.astype(int) - pixels(before)).mean() < 12


def test_a_photograph_of_a_phone_is_edited(service: Service) -> None:
    """HEIC of 4032 x 3024 pixels in 48 tiles, under the name and the type that a phone gives it."""
    tile = coded_picture((Path(__file__).parents[1] / "graphs/requests/pictures/tile.heic").read_bytes())
    photograph = heif_file([grid(6, 8, 4032, 3024), *[tile] * 48], [(b"dimg", 1, list(range(2, 50)))])
    response = service.client().images.edit(
        image=("IMG_0001.HEIC", photograph, "image/heic"), prompt="a red circle", extra_body={"strength": 0.3}
    )
    assert pixels(_images(response)[0]).shape == (128, 128, 3)


@pytest.mark.parametrize("kind", ["alpha", "luminance"])
def test_a_mask_of_either_kind_repaints_its_part_only(service: Service, draw: Draw, kind: str) -> None:
    before = draw(seed=5)
    mask = Image.new("RGBA", (128, 128), "black") if kind == "alpha" else Image.new("L", (128, 128), 0)
    mask.paste((0, 0, 0, 0) if kind == "alpha" else 255, (64, 0, 128, 128))
    response = service.client().images.edit(
        image=before, mask=image_bytes(mask), prompt="a plain white background", extra_body={"seed": 1}
    )
    change = np.abs(pixels(_images(response)[0]).astype(int) - pixels(before)).mean(axis=(0, 2))
    assert change[:48].max() < 8, "left of the mask's edge nothing happens"
    assert change[80:].mean() > 20, "right of it the image is repainted"


def test_transparent_pixels_mean_what_a_mask_does(service: Service, draw: Draw) -> None:
    picture = Image.open(io.BytesIO(draw(seed=5))).convert("RGBA")
    mask = Image.new("RGBA", picture.size, "black")
    for image in (picture, mask):
        image.paste((255, 255, 255, 0), (64, 0, 128, 128))
    fields = {"prompt": "a plain white background", "extra_body": {"seed": 1, "mask_composite": True}}
    with service.client() as client:
        holed = client.images.edit(image=image_bytes(picture), **fields)  # type: ignore[call-overload]
        masked = client.images.edit(  # type: ignore[call-overload]
            image=image_bytes(picture), mask=image_bytes(mask), **fields
        )
    assert _images(holed) == _images(masked)
    kept = np.array(picture.convert("RGB"))[:, :56]
    assert np.array_equal(pixels(_images(holed)[0])[:, :56], kept), "8 pixels from the hole nothing changes"
    assert not np.array_equal(pixels(_images(holed)[0])[:, 64:], np.array(picture.convert("RGB"))[:, 64:])
    assert holed.model_extra is not None and "warnings" not in holed.model_extra


def test_soft_transparency_is_laid_over_white_with_a_warning(service: Service, draw: Draw) -> None:
    picture = Image.open(io.BytesIO(draw(seed=5))).convert("RGBA")
    picture.putalpha(100)
    soft = image_bytes(picture)
    flat = image_bytes(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))
    with service.client() as client:
        answers = [client.images.edit(image=image, prompt="a star", extra_body={"seed": 1}) for image in (soft, flat)]
    assert _images(answers[0]) == _images(answers[1])
    assert answers[0].model_extra is not None and answers[1].model_extra is not None
    assert answers[0].model_extra["warnings"] == ["Transparent pixels of image were laid over white."]
    assert "warnings" not in answers[1].model_extra


def test_models_are_listed_and_found(service: Service) -> None:
    model = service.client().models.list().data[0]
    assert (model.id, model.object, model.owned_by) == ("shapes", "model", "imagegen-server")
    assert model.model_extra is not None and model.model_extra["kind"] == "base"
    assert service.client().models.retrieve("shapes").id == "shapes"
    with pytest.raises(openai.NotFoundError) as refused:
        service.client().models.retrieve("nothing")
    assert refused.value.code == "model_not_found"


def test_v1_is_the_same_as_v3(service: Service, draw: Draw) -> None:
    response = service.client(prefix="/v1").images.generate(
        prompt="a red circle on a blue background", extra_body={"seed": 5}
    )
    assert _images(response)[0] == draw(seed=5)


@pytest.mark.parametrize(("output_format", "compression"), [("jpeg", 40), ("webp", 40), ("jpeg", None), ("png", None)])
def test_the_image_comes_in_the_format_asked_for(service: Service, output_format: Any, compression: int | None) -> None:
    fields: dict[str, Any] = {} if compression is None else {"output_compression": compression}
    response = service.client().images.generate(prompt="a star", output_format=output_format, **fields)
    image = Image.open(io.BytesIO(_images(response)[0]))
    assert (image.format or "").lower() == output_format and image.size == (128, 128)
    assert response.output_format == output_format


def test_compression_makes_it_smaller(service: Service) -> None:
    sizes = [
        len(
            _images(
                service.client().images.generate(
                    prompt="a star", output_format="jpeg", output_compression=quality, extra_body={"seed": 1}
                )
            )[0]
        )
        for quality in (10, 95)
    ]
    assert sizes[0] < sizes[1] / 2


def test_a_url_serves_the_image_without_a_key(service: Service, draw: Draw) -> None:
    response = service.client().images.generate(
        prompt="a red circle on a blue background", response_format="url", extra_body={"seed": 5}
    )
    assert response.data is not None and response.data[0].b64_json is None
    served = service.http.get(response.data[0].url or "")
    assert served.headers["content-type"] == "image/png"
    assert served.content == draw(seed=5)


def test_what_stock_clients_send_without_effect_is_accepted(service: Service) -> None:
    response = service.client().images.generate(
        prompt="a star", quality="auto", background="auto", moderation="low", style="vivid", user="u", size="auto"
    )
    assert len(_images(response)) == 1


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"size": "129x128"}, "size", "invalid_size"),
    ({"size": "1024x1024"}, "size", "invalid_size"),
    ({"size": "big"}, "size", "invalid_size"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 11}, "n", "invalid_value"),
    ({"background": "transparent"}, "background", "invalid_value"),
    ({"extra_body": {"num_inference_steps": 0}}, "num_inference_steps", "invalid_value"),
    ({"extra_body": {"num_inference_steps": 101}}, "num_inference_steps", "invalid_value"),
    ({"extra_body": {"num_inference_steps": "three"}}, "num_inference_steps", "invalid_value"),
    ({"extra_body": {"guidance_scale": -1}}, "guidance_scale", "invalid_value"),
    ({"extra_body": {"guidance_scale": 1, "negative_prompt": "x"}}, "negative_prompt", "invalid_value"),
    ({"extra_body": {"prompt_2": "x"}}, "prompt_2", "invalid_value"),
    ({"extra_body": {"max_sequence_length": 64}}, "max_sequence_length", "invalid_value"),
    ({"extra_body": {"lora_alphas": {"a": 1}}}, "lora_alphas", "invalid_value"),
    ({"extra_body": {"strength": 0.5}}, "strength", "invalid_value"),
    ({"extra_body": {"promt": "x"}}, "promt", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_a_bad_request_names_its_parameter(service: Service, fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        service.client().images.generate(prompt="a star", **fields)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert refused.value.type == "invalid_request_error" and refused.value.request_id


@pytest.mark.parametrize(
    ("image", "fields", "param"),
    [
        (b"no image", {}, "image"),
        (image_bytes(Image.new("RGB", (64, 64))), {"strength": 0.01}, "strength"),
        (image_bytes(Image.new("RGB", (64, 64))), {"strength": 1.5}, "strength"),
        (image_bytes(Image.new("RGB", (64, 64))), {"size": "100x100"}, "size"),
    ],
)
def test_a_bad_edit_names_its_parameter(service: Service, image: bytes, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        service.client().images.edit(image=image, prompt="a star", extra_body=fields)
    assert refused.value.param == param


def test_an_unknown_model_is_not_found(service: Service) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        service.client().images.generate(prompt="a star", model="stable-image")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")
