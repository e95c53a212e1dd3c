"""Edits as JSON, with their images as data URLs."""

import base64
import json
import textwrap
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.api.api_support import DATA_URL, PNG, Api, error_of
from tests.api.request.bodies_support import EDITS, send_edit, send_form, send_json
from tests.support.images import image_bytes


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
    assert send_edit(api, [{"image_url": url}]).json()["operation"] == "edit"
    assert send_edit(api, [{"image_url": url}], mask={"image_url": url}).json()["operation"] == "inpainting"


BASE64 = base64.b64encode(PNG).decode()
LARGE = base64.b64encode(image_bytes(Image.effect_noise((1200, 1200), 90), "PNG")).decode()


@pytest.mark.parametrize("text", [BASE64, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "spelled",
    [
        lambda text: text,
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f"DATA:IMAGE/PNG;BASE64,{text}",
        lambda text: f"data:image/png;name=a.png;base64,{text}",
        lambda text: text.translate(str.maketrans("+/", "-_")).rstrip("="),
        lambda text: "\n".join(textwrap.wrap(text, 76)),
        lambda text: "\r\n".join(textwrap.wrap(f"data:image/png;base64,{text}", 76)),
    ],
)
@pytest.mark.parametrize("name", ["image", "images"])
def test_an_image_is_read_in_every_spelling(api: Api, name: str, spelled: Callable[[str], str], text: str) -> None:
    spelling = spelled(text)
    for value in (spelling, [spelling], {"image_url": spelling}, [{"image_url": spelling}]):
        answer = send_json(api, {"prompt": "x", name: value}, EDITS)
        assert answer.status_code == 202, answer.text[:300]
        assert answer.json()["operation"] == "edit"


def test_the_pixels_are_the_same_in_every_spelling(api: Api) -> None:
    given = {json.dumps(f"data:image/png;base64,{LARGE}"), json.dumps("\n".join(textwrap.wrap(LARGE, 76)))}
    images = []
    for text in given:
        job = send_json(api, f'{{"prompt": "x", "image": {text}}}'.encode(), EDITS).json()
        claims, claim = api.claim(job["id"])
        images.append(claim.image)
        assert claims.complete(claim, [PNG], {})
    assert len(images) == 2 and images[0] == images[1]


@pytest.mark.parametrize("text", [BASE64, LARGE], ids=["small", "large"])
def test_escapes_of_json_libraries_are_read(api: Api, text: str) -> None:
    escaped = text.replace("+", "\\u002B").replace("/", "\\u002f").replace("=", "\\u003D")
    body = f'{{"prompt": "x", "image": "{escaped}"}}'.encode()
    assert send_json(api, body, EDITS).status_code == 202


def test_a_text_of_the_client_is_no_place_of_an_image(api: Api) -> None:
    for place in ("data:,0", "data:,1"):
        body = {"prompt": "x", "image": place, "mask": f"data:image/png;base64,{LARGE}"}
        assert error_of(send_json(api, body, EDITS))["param"] == "images"


def test_a_mask_may_be_text(api: Api) -> None:
    answer = send_json(api, {"prompt": "x", "image": BASE64, "mask": LARGE}, EDITS)
    assert answer.json()["operation"] == "inpainting", answer.text[:300]
    for empty in ("", None):
        assert send_json(api, {"prompt": "x", "image": BASE64, "mask": empty}, EDITS).json()["operation"] == "edit"


def test_two_large_images_get_the_sentence(api: Api) -> None:
    message = error_of(send_json(api, {"prompt": "x", "images": [LARGE, LARGE]}, EDITS))["message"]
    assert message == "images: one image at a time is edited here, not 2."


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,!!!",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,ж",
        DATA_URL[:-2] + "=",
    ],
)
def test_broken_base64_is_refused(api: Api, url: str) -> None:
    for answer, param in ((send_edit(api, [{"image_url": url}]), "images"), (_masked(api, url), "mask")):
        error = error_of(answer)
        assert (error["param"], error["code"]) == (param, "invalid_base64_image")


def _masked(api: Api, url: str) -> httpx2.Response:
    return send_edit(api, [{"image_url": DATA_URL}], mask={"image_url": url})


@pytest.mark.parametrize(
    "reference",
    [
        {"image_url": "https://example.com/a.png"},
        {"image_url": "file:///etc/passwd"},
        {"image_url": "data:image/png,abc"},
        {"image_url": "data:image/png;base32,AAAA"},
        {"image_url": ""},
        {"image_url": None},
        {"file_id": "file-1"},
        {},
    ],
)
def test_other_urls_are_not_fetched(api: Api, reference: dict[str, Any]) -> None:
    error = error_of(send_edit(api, [reference]))
    assert (error["param"], error["code"]) == ("images", "invalid_image_url")
    assert "data URL" in error["message"]


@pytest.mark.parametrize(
    ("images", "param"),
    [
        (None, "images"),
        ([], "images"),
        ({}, "images"),
        ([5], "images.0"),
        ([DATA_URL] * 2, "images"),
        ([{"image_url": 5}], "images.0.image_url"),
        ([{"image_url": DATA_URL, "detail": "low"}], "images.0.detail"),
        ([{"image_url": DATA_URL}] * 2, "images"),
        ([{"image_url": DATA_URL}] * 17, "images"),
    ],
)
def test_images_other_than_exactly_one_are_refused(api: Api, images: Any, param: str) -> None:
    assert error_of(send_edit(api, images))["param"] == param


def test_a_json_edit_requires_images(api: Api) -> None:
    error = error_of(send_json(api, {"prompt": "x"}, EDITS))
    assert (error["param"], error["code"]) == ("images", "missing_required_parameter")


def test_a_name_of_forms_has_the_name_of_json_as_its_hint(api: Api) -> None:
    error = error_of(send_json(api, {"prompt": "x", "image[]": [DATA_URL]}, EDITS))
    assert error["message"] == "Unknown parameter: 'image[]'. Did you mean image?"


def test_an_empty_image_is_refused(api: Api) -> None:
    assert error_of(send_form(api, {}, {"image": ("a.png", b"")}))["code"] == "empty_image_file"
    assert error_of(send_edit(api, [{"image_url": "data:image/png;base64,"}]))["code"] == "empty_image_file"
