"""Edits as JSON, with their images as data URLs."""

import base64
from typing import Any

import httpx
import pytest

from tests.api.api_support import DATA_URL, PNG, Api, error_of
from tests.api.request.bodies_support import EDITS, send_edit, send_form, send_json


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
    for answer, param in ((send_edit(api, [{"image_url": url}]), "images"), (_masked(api, url), "mask")):
        error = error_of(answer)
        assert (error["param"], error["code"]) == (param, "invalid_base64_image")


def _masked(api: Api, url: str) -> httpx.Response:
    return send_edit(api, [{"image_url": DATA_URL}], mask={"image_url": url})


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
        ([DATA_URL], "images.0"),
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


def test_an_empty_image_is_refused(api: Api) -> None:
    assert error_of(send_form(api, {}, {"image": ("a.png", b"")}))["code"] == "empty_image_file"
    assert error_of(send_edit(api, [{"image_url": "data:image/png;base64,"}]))["code"] == "empty_image_file"
