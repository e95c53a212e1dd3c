"""Edits as multipart forms, in the spellings of the clients."""

from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.api.api_support import AT_ONCE, PNG, Api, error_of
from tests.api.request.bodies_support import EDITS, FILE, GENERATIONS, send_form
from tests.support.images import image_bytes, red_image


@pytest.mark.parametrize(
    "files",
    [
        FILE,
        {"image[]": ("red.png", PNG, "image/png")},
        {"image": ("upload", PNG, "application/octet-stream")},
        {"image": ("blob", PNG)},
        {"image": ("evil.exe", PNG, "text/html")},
        {"image": ("ж/../..\\x.png", PNG)},
        {"image": ("x.gif", image_bytes(red_image(), "WEBP"), "image/gif")},
    ],
)
def test_the_format_of_an_image_is_read_from_its_content(api: Api, files: dict[str, Any]) -> None:
    job = send_form(api, {}, files).json()
    assert (job["operation"], job["size"], job["prompt"]) == ("edit", "128x128", "x")


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images", "images[]", "images[3]", "file", "file[]"])
@pytest.mark.parametrize("head", ["", '; filename=""', "; filename*=UTF-8''a%20b.png", '; filename="a.png"'])
def test_an_image_is_one_under_each_name_of_its_part(api: Api, name: str, head: str) -> None:
    answer = _raw(api, PROMPT, (f'name="{name}"{head}', PNG))
    assert answer.json()["operation"] == "edit", answer.text


def test_a_large_image_without_a_file_name_is_taken(api: Api) -> None:
    large = image_bytes(Image.effect_noise((700, 700), 90), "PNG")
    assert len(large) > 300_000
    assert _raw(api, PROMPT, ('name="image"', large)).json()["operation"] == "edit"


@pytest.mark.parametrize("head", ["", '; filename=""', '; filename="blob"'])
def test_an_empty_mask_is_none(api: Api, head: str) -> None:
    assert _raw(api, PROMPT, IMAGE, (f'name="mask"{head}', b"")).json()["operation"] == "edit"


@pytest.mark.parametrize("name", ["mask", "mask[]"])
def test_a_mask_makes_it_inpainting(api: Api, name: str) -> None:
    job = send_form(api, {}, {**FILE, name: ("mask.png", image_bytes(red_image("L")), "image/png")}).json()
    assert job["operation"] == "inpainting"
    _, claim = api.claim(job["id"])
    assert claim.image
    assert claim.mask


@pytest.mark.parametrize("names", [("image", "image"), ("image[]", "image[]"), ("image", "image[]")])
def test_two_images_are_refused(api: Api, names: tuple[str, str]) -> None:
    error = error_of(send_form(api, {}, [(name, ("a.png", PNG, "image/png")) for name in names]))
    assert error["param"] == "image"
    assert "one image at a time" in error["message"]


def test_two_masks_are_refused(api: Api) -> None:
    masks = [("mask", ("m.png", PNG, "image/png"))] * 2
    assert error_of(send_form(api, {}, [("image", FILE["image"]), *masks]))["param"] == "mask"


def test_an_image_is_required(api: Api) -> None:
    error = error_of(send_form(api, {}, {"mask": FILE["image"]}))
    assert (error["param"], error["message"]) == ("image", "image is required, as a file.")


def _raw(api: Api, *parts: tuple[str, bytes], boundary: str = "b", kind: str = "") -> httpx2.Response:
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
        ({"seeds": "each"}, {"seeds": "each"}),
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
def test_text_fields_are_converted(api: Api, data: dict[str, str], expected: dict[str, Any]) -> None:
    job = send_form(api, data).json()
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
        ({"rng_seed": "-2"}, "rng_seed"),
        ({"response_format": "file"}, "response_format"),
        ({"step": "4"}, "step"),
        ({"prompt[]": "x"}, "prompt[]"),
        ({"lora_alphas": "[1]"}, "lora_alphas"),
        ({"lora_alphas": "{"}, "lora_alphas"),
        ({"lora_alphas": "[" * 9999}, "lora_alphas"),
        ({"lora_alphas": '{"a": ' + "9" * 5000 + "}"}, "lora_alphas"),
        ({"lora_alphas": '{"a": "1"}'}, "lora_alphas.a"),
        ({"lora_alphas": '{"a": true}'}, "lora_alphas.a"),
        ({"lora_alphas": '{"a": NaN}'}, "lora_alphas.a"),
        ({"lora_alphas[a]": "x"}, "lora_alphas.a"),
        ({"adapters": "[1]"}, "adapters"),
        ({"adapters": '{"a": true}'}, "adapters.a"),
        ({"adapters[a]": "x"}, "adapters.a"),
        ({"adapters[a]": "0.5"}, "adapters.a"),
        ({"lora_alphas[a]": "0.5"}, "lora_alphas"),
        ({"lora_alphas": '{"a": 0.5}'}, "lora_alphas"),
        ({"lora_alphas[]": "0.5"}, "lora_alphas[]"),
        ({"lora_alphas[a][]": "0.5"}, "lora_alphas[a][]"),
        ({"metadata": '{"a": 1}'}, "metadata.a"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata[a]": "x" * 513}, "metadata.a"),
        ({"webhook[events][]": "completed"}, "webhook.url"),
        ({"webhook[url]": "https://x", "webhook[events][]": "x"}, "webhook.events.0"),
        ({"images": "x"}, "image"),
    ],
)
def test_an_invalid_text_field_is_refused_by_name(api: Api, data: dict[str, str], param: str) -> None:
    assert error_of(send_form(api, data))["param"] == param


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
def test_a_field_given_twice_is_refused(api: Api, names: list[str], param: str) -> None:
    parts = [(f'name="{name}"', b'{"a": 1}' if name == "lora_alphas" else b"1") for name in names]
    error = error_of(_raw(api, *parts, IMAGE))
    assert error["param"] == param
    assert "more than once" in error["message"]


def test_the_alphas_of_several_adapters_are_put_together(api: Api) -> None:
    error = error_of(send_form(api, {"lora_alphas[a]": "0.5", "lora_alphas[b]": "1"}))
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
def test_a_file_and_a_text_are_different_fields(api: Api, part: tuple[str, bytes], param: str) -> None:
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
