"""Generations as JSON: what is parsed and what is refused."""

from typing import Any

import pytest

from api.request.schemas import EditBody, ImageBody
from tests.api.api_support import AT_ONCE, DATA_URL, Api, error_of
from tests.api.request.bodies_support import EDITS, GENERATIONS, send_form, send_json


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"{'prompt': 'x'}",
        b'{"prompt": "x",}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\xff"}',
        b"[" * 5_000,
        b'{"a":' * 5_000,
        b'{"lora_alphas": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_not_json_is_refused(api: Api, body: bytes) -> None:
    error = error_of(send_json(api, body))
    assert error["code"] == "invalid_json"
    assert error["message"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"true"])
@pytest.mark.parametrize("path", [GENERATIONS, EDITS])
def test_a_body_that_is_not_an_object_is_refused(api: Api, body: bytes, path: str) -> None:
    error = error_of(send_json(api, body, path))
    assert error["param"] is None
    assert "must be a JSON object" in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", "1.5"),
        ("n", "abc"),
        ("n", 1.5),
        ("n", True),
        ("n", [1]),
        ("prompt", 1),
        ("prompt", ["x"]),
        ("prompt", "x" * 32_001),
        ("size", 512),
        ("stream", 0),
        ("stream", "false"),
        ("guidance_scale", "abc"),
        ("guidance_scale", True),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("strength", float("-inf")),
        ("rng_seed", 1.5),
        ("lora_alphas", [1]),
        ("response_format", "json"),
        ("output_format", "gif"),
        ("output_compression", 101),
        ("output_compression", -1),
        ("background", "blue"),
        ("partial_images", 4),
        ("model", 5),
        ("user", True),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(api: Api, field: str, value: Any) -> None:
    error = error_of(send_json(api, {"prompt": "x", field: value}))
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("alpha", ["abc", None, True, float("nan"), {}])
def test_an_alpha_of_the_wrong_type_is_refused_by_name(api: Api, alpha: Any) -> None:
    assert error_of(send_json(api, {"prompt": "x", "lora_alphas": {"a": alpha}}))["param"] == "lora_alphas.a"


@pytest.mark.parametrize("digits", [20, 41, 400, 4000, 4300])
@pytest.mark.parametrize(
    "field", ["n", "width", "height", "num_inference_steps", "rng_seed", "seed", "max_sequence_length"]
)
def test_a_huge_number_is_refused_by_name(api: Api, field: str, digits: int) -> None:
    error = error_of(send_json(api, b'{"prompt": "x", "' + field.encode() + b'": ' + b"9" * digits + b"}"))
    assert error["param"] in (field, "size")
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("n", "2", {"n": 2}),
        ("n", 2.0, {"n": 2}),
        ("seed", "1e3", {"seed": 1000}),
        ("seed", 1e3, {"seed": 1000}),
        ("rng_seed", "7", {"seed": 7}),
        ("width", "64", {"size": "64x128"}),
        ("steps", "4", {}),
        ("cfg", "7", {}),
        ("cfg_scale", 7, {}),
        ("guidance_scale", "7.5", {}),
        ("user", 123, {}),
        ("size", "64X64", {"size": "64x64"}),
        ("size", "AUTO", {"size": "128x128"}),
        ("output_format", "jpg", {}),
        ("output_format", "PNG", {}),
        ("output_compression", "50", {}),
    ],
)
def test_spellings_of_clients_are_accepted_alike_in_json_and_forms(
    api: Api, field: str, value: Any, expected: dict[str, Any]
) -> None:
    for answer in (send_json(api, {"prompt": "x", field: value}), send_form(api, {field: str(value)})):
        assert answer.status_code == 202, answer.text
        assert {name: answer.json()[name] for name in expected} == expected


def test_seed_minus_one_is_random_and_reported(api: Api) -> None:
    seeds = {send_json(api, {"prompt": "x", "seed": -1}).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_two_names_of_one_parameter_are_refused(api: Api) -> None:
    error = error_of(send_json(api, {"prompt": "x", "cfg": 7, "cfg_scale": 7}))
    assert (error["param"], error["message"]) == (
        "cfg_scale",
        "cfg_scale and guidance_scale mean the same; give one of them.",
    )


@pytest.mark.parametrize("sign", [b"", b"-"])
def test_a_huge_fraction_is_refused_by_name(api: Api, sign: bytes) -> None:
    body = b'{"prompt": "x", "guidance_scale": ' + sign + b"1e308}"
    assert error_of(send_json(api, body))["param"] == "guidance_scale"


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("promt", "prompt"),
        ("negativ_prompt", "negative_prompt"),
        ("step", "num_inference_steps"),
        ("zzz", None),
        ("heigth", "height"),
        ("Size", "size"),
    ],
)
def test_an_unknown_field_is_refused_with_a_hint(api: Api, field: str, near: str | None) -> None:
    error = error_of(send_json(api, {"prompt": "x", field: "x"}))
    assert (error["param"], error["code"]) == (field, "unknown_parameter")
    assert f"Unknown parameter: '{field}'." in error["message"]
    assert (f"Did you mean {near}?" if near else "See /docs") in error["message"]


@pytest.mark.parametrize("field", ["image[]", "__class__", "", "a\x00b", "model_config"])
def test_fields_of_other_routes_are_unknown(api: Api, field: str) -> None:
    assert error_of(send_json(api, {"prompt": "x", field: None}))["code"] == "unknown_parameter"


@pytest.mark.parametrize("field", sorted(set(ImageBody.model_fields) - {"prompt"}))
def test_null_is_accepted_for_every_field(api: Api, field: str) -> None:
    assert send_json(api, {"prompt": "x", field: None}).status_code == 202


def test_all_nulls_at_once_are_accepted(api: Api) -> None:
    assert send_json(api, {**dict.fromkeys(ImageBody.model_fields), "prompt": "x"}).status_code == 202
    nulls = {
        **dict.fromkeys(EditBody.model_fields),
        "prompt": "x",
        "images": [{"image_url": DATA_URL, "file_id": None}],
    }
    assert send_json(api, nulls, EDITS).status_code == 202


def test_a_body_without_a_content_type_is_read_as_json(api: Api) -> None:
    assert api.http.post(GENERATIONS, content=b'{"prompt": "x"}', headers=AT_ONCE).status_code == 202


def test_a_body_of_many_brackets_is_not_parsed(api: Api) -> None:
    error = error_of(send_json(api, b"[" * 10_001))
    assert (error["code"], error["message"]) == ("invalid_json", "The body has more than 10000 brackets.")
