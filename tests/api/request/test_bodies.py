import base64
import json
from typing import Any

import httpx
import pytest

from api.request.schemas import EditBody, ImageBody
from tests.api.api_support import AT_ONCE, DATA_URL, PNG, Api, error_of, picture

GENERATIONS, EDITS = "/v3/images/generations", "/v3/images/edits"
FILE = {"image": ("red.png", PNG, "image/png")}


def _json(api: Api, body: bytes | dict[str, Any], path: str = GENERATIONS) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.http.post(path, content=content, headers={"Content-Type": "application/json", **AT_ONCE})


def _form(api: Api, data: dict[str, Any], files: Any = FILE) -> httpx.Response:
    return api.http.post(EDITS, data={"prompt": "x", **data}, files=files, headers=AT_ONCE)


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
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"lora_alphas": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    error = error_of(_json(api, body))
    assert error["code"] == "invalid_json"
    assert error["message"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"true"])
@pytest.mark.parametrize("path", [GENERATIONS, EDITS])
def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes, path: str) -> None:
    error = error_of(_json(api, body, path))
    assert error["param"] is None
    assert "must be a JSON object" in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", "1"),
        ("n", 1.0),
        ("n", 1.5),
        ("n", True),
        ("n", [1]),
        ("prompt", 1),
        ("prompt", ["x"]),
        ("prompt", "x" * 32_001),
        ("size", 512),
        ("stream", 0),
        ("stream", "false"),
        ("guidance_scale", "7"),
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
        ("user", 5),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(api: Api, field: str, value: Any) -> None:
    error = error_of(_json(api, {"prompt": "x", field: value}))
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("alpha", ["0.5", None, True, float("nan"), {}])
def test_a_strength_of_the_wrong_kind_is_refused_by_its_name(api: Api, alpha: Any) -> None:
    assert error_of(_json(api, {"prompt": "x", "lora_alphas": {"a": alpha}}))["param"] == "lora_alphas.a"


@pytest.mark.parametrize("digits", [20, 400, 4000])
@pytest.mark.parametrize(
    "field", ["n", "width", "height", "num_inference_steps", "rng_seed", "seed", "max_sequence_length"]
)
def test_a_huge_number_is_refused_by_name(api: Api, field: str, digits: int) -> None:
    error = error_of(_json(api, b'{"prompt": "x", "' + field.encode() + b'": ' + b"9" * digits + b"}"))
    assert error["param"] in (field, "size")


@pytest.mark.parametrize("sign", [b"", b"-"])
def test_a_huge_fraction_is_refused_by_name(api: Api, sign: bytes) -> None:
    body = b'{"prompt": "x", "guidance_scale": ' + sign + b"1e308}"
    assert error_of(_json(api, body))["param"] == "guidance_scale"


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("promt", "prompt"),
        ("negativ_prompt", "negative_prompt"),
        ("steps", "num_inference_steps"),
        ("cfg", None),
        ("heigth", "height"),
        ("Size", "size"),
    ],
)
def test_an_unknown_field_is_refused_with_what_was_meant(api: Api, field: str, near: str | None) -> None:
    error = error_of(_json(api, {"prompt": "x", field: "x"}))
    assert (error["param"], error["code"]) == (field, "unknown_parameter")
    assert f"Unknown parameter: '{field}'." in error["message"]
    assert (f"Did you mean {near}?" if near else "See /docs") in error["message"]


@pytest.mark.parametrize("field", ["image", "mask", "images", "__class__", "", "a\x00b", "model_config"])
def test_fields_of_other_routes_are_unknown(api: Api, field: str) -> None:
    assert error_of(_json(api, {"prompt": "x", field: None}))["code"] == "unknown_parameter"


@pytest.mark.parametrize("field", sorted(set(ImageBody.model_fields) - {"prompt"}))
def test_null_is_accepted_for_every_field(api: Api, field: str) -> None:
    assert _json(api, {"prompt": "x", field: None}).status_code == 202


def test_all_nulls_at_once_are_accepted(api: Api) -> None:
    assert _json(api, {**dict.fromkeys(ImageBody.model_fields), "prompt": "x"}).status_code == 202
    nulls = {
        **dict.fromkeys(EditBody.model_fields),
        "prompt": "x",
        "images": [{"image_url": DATA_URL, "file_id": None}],
    }
    assert _json(api, nulls, EDITS).status_code == 202


@pytest.mark.parametrize("body", [{}, {"prompt": None}])
def test_a_prompt_is_required(api: Api, body: dict[str, Any]) -> None:
    error = error_of(_json(api, body))
    assert (error["param"], error["message"]) == ("prompt", "prompt is required.")


@pytest.mark.parametrize("field", ["user", "quality", "style", "moderation", "input_fidelity"])
def test_what_cannot_change_the_picture_is_accepted(api: Api, field: str) -> None:
    assert _json(api, {"prompt": "x", field: "anything"}).status_code == 202


@pytest.mark.parametrize(
    ("field", "fine", "lost"),
    [("background", "opaque", "transparent"), ("stream", False, "yes"), ("partial_images", 2, 4)],
)
def test_what_would_be_lost_is_refused(api: Api, field: str, fine: Any, lost: Any) -> None:
    assert _json(api, {"prompt": "x", field: fine}).status_code == 202
    assert error_of(_json(api, {"prompt": "x", field: lost}))["param"] == field


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
        ({"seed": -1}, "seed"),
        ({"rng_seed": -1}, "rng_seed"),
        ({"size": "100x100"}, "size"),
        ({"width": 100}, "width"),
        ({"height": 100}, "height"),
        ({"width": 2048, "height": 2048}, "width"),
        ({"height": 2048}, "height"),
        ({"width": 0}, "width"),
        ({"size": "big"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"size": "64X64"}, "size"),
        ({"size": ""}, "size"),
        ({"size": "1024x1032"}, "size"),
        ({"strength": 0.5}, "strength"),
        ({"lora_alphas": {"a": 1}}, "lora_alphas"),
        ({"model": "nothing"}, "model"),
    ],
)
def test_a_refusal_names_the_parameter_as_the_client_wrote_it(api: Api, body: dict[str, Any], param: str) -> None:
    answer = _json(api, {"prompt": "x", **body})
    assert error_of(answer, answer.status_code)["param"] == param
    assert answer.status_code == (404 if param == "model" else 400)


def test_a_body_without_a_content_type_is_read_as_json(api: Api) -> None:
    assert api.http.post(GENERATIONS, content=b'{"prompt": "x"}', headers=AT_ONCE).status_code == 202


# Edits as multipart, the way each client writes them.


@pytest.mark.parametrize(
    "files",
    [
        FILE,
        {"image[]": ("red.png", PNG, "image/png")},
        {"image": ("upload", PNG, "application/octet-stream")},
        {"image": ("blob", PNG)},
        {"image": ("evil.exe", PNG, "text/html")},
        {"image": ("ж/../..\\x.png", PNG)},
        {"image": ("x.gif", picture(kind="WEBP"), "image/gif")},
    ],
)
def test_a_picture_is_told_by_its_content(api: Api, files: dict[str, Any]) -> None:
    job = _form(api, {}, files).json()
    assert (job["operation"], job["size"], job["prompt"]) == ("edit", "128x128", "x")


@pytest.mark.parametrize("name", ["mask", "mask[]"])
def test_a_mask_makes_it_inpainting(api: Api, name: str) -> None:
    job = _form(api, {}, {**FILE, name: ("mask.png", picture("L"), "image/png")}).json()
    assert job["operation"] == "inpainting"
    _, claim = api.claim(job["id"])
    assert claim.image
    assert claim.mask


@pytest.mark.parametrize("names", [("image", "image"), ("image[]", "image[]"), ("image", "image[]")])
def test_two_pictures_are_refused(api: Api, names: tuple[str, str]) -> None:
    error = error_of(_form(api, {}, [(name, ("a.png", PNG, "image/png")) for name in names]))
    assert error["param"] == "image"
    assert "one picture at a time" in error["message"]


def test_two_masks_are_refused(api: Api) -> None:
    masks = [("mask", ("m.png", PNG, "image/png"))] * 2
    assert error_of(_form(api, {}, [("image", FILE["image"]), *masks]))["param"] == "mask"


def test_a_picture_is_required(api: Api) -> None:
    error = error_of(_form(api, {}, {"mask": FILE["image"]}))
    assert (error["param"], error["message"]) == ("image", "image is required: the picture as a file.")


def _raw(api: Api, *parts: tuple[str, bytes], boundary: str = "b", kind: str = "") -> httpx.Response:
    """A multipart body of (disposition, content) in this order."""
    body = b"".join(
        f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    )
    kind = kind or f"multipart/form-data; boundary={boundary}"
    return api.http.post(EDITS, content=body + b"--b--\r\n", headers={"Content-Type": kind, **AT_ONCE})


PROMPT, IMAGE = ('name="prompt"', b"a circle"), ('name="image"; filename="a.png"', PNG)


@pytest.mark.parametrize("parts", [(PROMPT, IMAGE), (IMAGE, PROMPT), (PROMPT, ('name="n"', b"2"), IMAGE)])
def test_the_order_of_parts_does_not_matter(api: Api, parts: tuple[tuple[str, bytes], ...]) -> None:
    assert _raw(api, *parts).json()["prompt"] == "a circle"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"n": "2"}, {"n": 2}),
        ({"seed": "7"}, {"seed": 7}),
        ({"stream": "false"}, {"status": "queued"}),
        ({"stream": "False", "partial_images": "0"}, {"status": "queued"}),
        ({"metadata[a]": "1", "metadata[b c]": ""}, {"metadata": {"a": "1"}}),
        ({"metadata": '{"a": "1"}'}, {"metadata": {"a": "1"}}),
        ({"strength": "0.5", "guidance_scale": "3"}, {"status": "queued"}),
        ({"size": "64x64"}, {"size": "64x64"}),
        ({"size": "", "n": "", "model": "", "user": "", "lora_alphas": ""}, {"size": "128x128", "n": 1}),
        ({"prompt": ""}, {"prompt": ""}),
        ({"prompt": "ж 🟥"}, {"prompt": "ж 🟥"}),
        ({"lora_alphas": "{}"}, {"status": "queued"}),
    ],
)
def test_text_fields_become_what_they_mean(api: Api, data: dict[str, str], expected: dict[str, Any]) -> None:
    job = _form(api, data).json()
    assert {key: job[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({"n": "two"}, "n"),
        ({"n": "1.5"}, "n"),
        ({"n": "9" * 5000}, "n"),
        ({"n": "0"}, "n"),
        ({"stream": "perhaps"}, "stream"),
        ({"strength": "nan"}, "strength"),
        ({"strength": "1e999"}, "strength"),
        ({"strength": "0"}, "strength"),
        ({"strength": "2"}, "strength"),
        ({"rng_seed": "-1"}, "rng_seed"),
        ({"response_format": "file"}, "response_format"),
        ({"steps": "4"}, "steps"),
        ({"prompt[]": "x"}, "prompt[]"),
        ({"lora_alphas": "[1]"}, "lora_alphas"),
        ({"lora_alphas": "{"}, "lora_alphas"),
        ({"lora_alphas": "[" * 9999}, "lora_alphas"),
        ({"lora_alphas": '{"a": ' + "9" * 5000 + "}"}, "lora_alphas"),
        ({"lora_alphas": '{"a": "1"}'}, "lora_alphas.a"),
        ({"lora_alphas": '{"a": true}'}, "lora_alphas.a"),
        ({"lora_alphas": '{"a": NaN}'}, "lora_alphas.a"),
        ({"lora_alphas[a]": "x"}, "lora_alphas.a"),
        ({"lora_alphas[a]": "0.5"}, "lora_alphas"),
        ({"lora_alphas": '{"a": 0.5}'}, "lora_alphas"),
        ({"lora_alphas[]": "0.5"}, "lora_alphas[]"),
        ({"lora_alphas[a][]": "0.5"}, "lora_alphas[a][]"),
        ({"metadata": '{"a": 1}'}, "metadata.a"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata[a]": "x" * 513}, "metadata.a"),
        ({"webhook[events][]": "completed"}, "webhook.url"),
        ({"webhook[url]": "https://x", "webhook[events][]": "x"}, "webhook.events.0"),
        ({"images": "x"}, "images"),
    ],
)
def test_a_text_field_that_means_nothing_is_refused_by_name(api: Api, data: dict[str, str], param: str) -> None:
    assert error_of(_form(api, data))["param"] == param


@pytest.mark.parametrize(
    ("names", "param"),
    [
        (["n", "n"], "n"),
        (["prompt", "prompt"], "prompt"),
        (["lora_alphas[a]", "lora_alphas[a]"], "lora_alphas[a]"),
        (["lora_alphas", "lora_alphas"], "lora_alphas"),
        (["lora_alphas[a]", "lora_alphas"], "lora_alphas"),
        (["lora_alphas", "lora_alphas[b]"], "lora_alphas"),
    ],
)
def test_a_field_that_is_given_twice_is_refused(api: Api, names: list[str], param: str) -> None:
    parts = [(f'name="{name}"', b'{"a": 1}' if name == "lora_alphas" else b"1") for name in names]
    error = error_of(_raw(api, *parts, IMAGE))
    assert error["param"] == param
    assert "more than once" in error["message"]


def test_strengths_of_several_adapters_are_put_together(api: Api) -> None:
    error = error_of(_form(api, {"lora_alphas[a]": "0.5", "lora_alphas[b]": "1"}))
    assert "is a base model" in error["message"]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (('name="prompt"; filename="p.txt"', b"x"), "prompt"),
        (('name="model"; filename=""', b"x"), "model"),
        (('name="image"', b"no file"), "image"),
        (('name="mask"', b"no file"), "mask"),
        (('name="image[]"', b"data:image/png;base64,AA=="), "image"),
    ],
)
def test_files_and_texts_are_not_confused(api: Api, part: tuple[str, bytes], param: str) -> None:
    assert error_of(_raw(api, part, IMAGE))["param"] == param


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode_escape", "raw_unicode_escape", "hex", "nothing", "idna", "utf-16"]
)
@pytest.mark.parametrize("name", ["prompt", "+2AA-", "\\ud800"])
def test_a_strange_character_set_breaks_nothing(api: Api, charset: str, name: str) -> None:
    kind = f"multipart/form-data; charset={charset}; boundary=b"
    answer = _raw(api, (f'name="{name}"', b"+2AA- \\ud800"), IMAGE, kind=kind)
    assert answer.status_code in (202, 400)
    if answer.status_code == 400:
        error_of(answer)


@pytest.mark.parametrize(
    "answer_to",
    [
        lambda api: _raw(api, PROMPT, kind="multipart/form-data"),
        lambda api: _raw(api, PROMPT, boundary="other"),
        lambda api: _raw(api, ('nam="prompt"', b"x")),
        lambda api: _raw(api, *[(f'name="f{i}"', b"") for i in range(101)]),
        lambda api: _raw(api, *[('name="image"; filename="a"', b"") for _ in range(21)]),
        lambda api: _raw(api, ('name="prompt"', b"x" * 300_000), IMAGE),
        lambda api: _raw(api, kind="text/plain"),
        lambda api: _raw(api, kind="application/x-www-form-urlencoded"),
        lambda api: api.http.post(EDITS),
        lambda api: _raw(api, kind="multipart/form-data; boundary=" + "b" * 300),
    ],
)
def test_a_broken_form_is_refused(api: Api, answer_to: Any) -> None:
    assert error_of(answer_to(api))["message"]


def test_a_form_on_a_json_route_is_refused(api: Api) -> None:
    assert error_of(api.http.post(GENERATIONS, data={"prompt": "x"}, headers=AT_ONCE))["code"] == "invalid_json"


# Edits as JSON.


def _edit(api: Api, images: Any, **more: Any) -> httpx.Response:
    return _json(api, {"prompt": "x", "images": images, **more}, EDITS)


@pytest.mark.parametrize(
    "url",
    [
        DATA_URL,
        DATA_URL.replace("image/png", "application/octet-stream"),
        DATA_URL.replace("image/png", "image/png;charset=utf-8"),
        DATA_URL.replace("image/png", ""),
    ],
)
def test_a_data_url_is_edited(api: Api, url: str) -> None:
    assert _edit(api, [{"image_url": url}]).json()["operation"] == "edit"
    assert _edit(api, [{"image_url": url}], mask={"image_url": url}).json()["operation"] == "inpainting"


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,!!!",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,ж",
        "data:image/png;base64,AA AA",
        DATA_URL[:-2] + "=",
    ],
)
def test_broken_base64_is_refused(api: Api, url: str) -> None:
    for answer, param in ((_edit(api, [{"image_url": url}]), "images"), (_masked(api, url), "mask")):
        error = error_of(answer)
        assert (error["param"], error["code"]) == (param, "invalid_base64_image")


def _masked(api: Api, url: str) -> httpx.Response:
    return _edit(api, [{"image_url": DATA_URL}], mask={"image_url": url})


@pytest.mark.parametrize(
    "reference",
    [
        {"image_url": "https://example.com/a.png"},
        {"image_url": "file:///etc/passwd"},
        {"image_url": "data:image/png,abc"},
        {"image_url": base64.b64encode(PNG).decode()},
        {"image_url": ""},
        {"image_url": None},
        {"file_id": "file-1"},
        {},
    ],
)
def test_other_addresses_are_not_fetched(api: Api, reference: dict[str, Any]) -> None:
    error = error_of(_edit(api, [reference]))
    assert (error["param"], error["code"]) == ("images", "invalid_image_url")
    assert "data URL" in error["message"]


@pytest.mark.parametrize(
    ("images", "param"),
    [
        (None, "images"),
        ([], "images"),
        ({}, "images"),
        ([DATA_URL], "images.0"),
        ([{"image_url": 5}], "images.0.image_url"),
        ([{"image_url": DATA_URL, "detail": "low"}], "images.0.detail"),
        ([{"image_url": DATA_URL}] * 2, "images"),
        ([{"image_url": DATA_URL}] * 17, "images"),
    ],
)
def test_pictures_that_are_not_one_are_refused(api: Api, images: Any, param: str) -> None:
    assert error_of(_edit(api, images))["param"] == param


def test_a_json_edit_without_pictures_is_told_what_is_missing(api: Api) -> None:
    error = error_of(_json(api, {"prompt": "x"}, EDITS))
    assert (error["param"], error["code"]) == ("images", "missing_required_parameter")


def test_an_empty_picture_is_refused(api: Api) -> None:
    assert error_of(_form(api, {}, {"image": ("a.png", b"")}))["code"] == "empty_image_file"
    assert error_of(_edit(api, [{"image_url": "data:image/png;base64,"}]))["code"] == "empty_image_file"
