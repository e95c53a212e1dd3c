"""The fields of an image request: their effect, their other names, and the names in refusals."""

from typing import Any

import pytest

from tests.api.api_support import Api, error_of
from tests.api.request.bodies_support import send_json


@pytest.mark.parametrize("body", [{}, {"prompt": None}])
def test_a_prompt_is_required(api: Api, body: dict[str, Any]) -> None:
    error = error_of(send_json(api, body))
    assert (error["param"], error["message"]) == ("prompt", "prompt is required.")


@pytest.mark.parametrize("field", ["user", "quality", "style", "moderation", "input_fidelity"])
def test_a_field_without_effect_is_accepted(api: Api, field: str) -> None:
    assert send_json(api, {"prompt": "x", field: "anything"}).status_code == 202


@pytest.mark.parametrize(
    ("field", "fine", "lost"),
    [("background", "opaque", "transparent"), ("stream", False, "yes"), ("partial_images", 2, 4)],
)
def test_a_field_with_an_effect_is_checked(api: Api, field: str, fine: Any, lost: Any) -> None:
    assert send_json(api, {"prompt": "x", field: fine}).status_code == 202
    assert error_of(send_json(api, {"prompt": "x", field: lost}))["param"] == field


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"n": 3}, {"n": 3}),
        ({"num_images_per_prompt": 3}, {"n": 3}),
        ({"seed": 5}, {"seed": 5}),
        ({"rng_seed": 2**32 + 5}, {"seed": 5}),
        ({"size": "64x72"}, {"size": "64x72"}),
        ({"size": "auto"}, {"size": "128x128"}),
        ({"width": 64, "height": 72}, {"size": "64x72"}),
        ({"width": 64}, {"size": "64x128"}),
        ({"guidance_scale": 7}, {"status": "queued"}),
        ({"prompt": ""}, {"prompt": ""}),
        ({"prompt": "ж\u0000🟥"}, {"prompt": "ж\u0000🟥"}),
        ({"model": ""}, {"model": "demo"}),
    ],
)
def test_a_parameter_takes_effect_under_each_of_its_names(
    api: Api, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    job = api.submitted(json={"prompt": "x", **body})
    assert {key: job[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 1, "num_images_per_prompt": 1}, "n"),
        ({"seed": 1, "rng_seed": 1}, "seed"),
        ({"size": "64x64", "width": 64}, "size"),
        ({"size": "auto", "width": 64, "n": 0}, "n"),
        ({"n": 0}, "n"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"seed": -2}, "seed"),
        ({"rng_seed": -2}, "rng_seed"),
        ({"size": "100x100"}, "size"),
        ({"width": 100}, "width"),
        ({"height": 100}, "height"),
        ({"width": 2048, "height": 2048}, "width"),
        ({"height": 2048}, "height"),
        ({"width": 0}, "width"),
        ({"size": "big"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"size": "1024x1032"}, "size"),
        ({"strength": 0.5}, "strength"),
        ({"lora_alphas": {"a": 1}}, "lora_alphas"),
        ({"model": "nothing"}, "model"),
    ],
)
def test_a_refusal_names_the_parameter_as_the_client_wrote_it(api: Api, body: dict[str, Any], param: str) -> None:
    answer = send_json(api, {"prompt": "x", **body})
    assert error_of(answer, answer.status_code)["param"] == param
    assert answer.status_code == (404 if param == "model" else 400)
