"""Fields of other services: those without effect are left out with a warning, those that matter are refused."""

import json
from typing import Any

import httpx2
import pytest

from api.request.foreign_parameters import IGNORED, REFUSED, ignored_label
from api.request.schemas import EditBody
from config.settings import HttpSettings, RedisSettings, RepositorySettings, Settings
from graphs.repository.bundled import bundled_model_path
from tests.api.api_support import DATA_URL, Api, error_of, serving
from tests.api.request.bodies_support import EDITS, FILE, GENERATIONS, send_form, send_json


def _example(entry: str) -> str:
    return entry.replace("*", "_x")


def warned(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 202, answer.text
    warnings: list[str] = answer.json()["warnings"]
    assert answer.headers.get("x-imagegen-warnings", "") == " ".join(warnings)
    return warnings


def test_no_name_is_in_two_tables_or_one_of_ours() -> None:
    assert not set(IGNORED) & set(REFUSED)
    assert not (set(IGNORED) | set(REFUSED)) & set(EditBody.model_fields)
    assert len(IGNORED) >= 40
    assert len(REFUSED) >= 25


@pytest.mark.parametrize("entry", IGNORED)
def test_a_field_without_effect_is_left_out_with_a_warning(api: Api, entry: str) -> None:
    name = _example(entry)
    value: Any = {"a": 1} if name == "extra_headers" else "x"
    sentence = f"{name} has no effect here and was left out."
    assert warned(send_json(api, {"prompt": "x", name: value})) == [sentence]
    assert warned(send_form(api, {name: "x"})) == [sentence]
    assert ignored_label(name) == entry


@pytest.mark.parametrize("entry", sorted(REFUSED))
def test_a_field_that_would_change_the_image_is_refused(api: Api, entry: str) -> None:
    name = _example(entry)
    for answer in (send_json(api, {"prompt": "x", name: "x"}), send_form(api, {name: "x"})):
        error = error_of(answer)
        assert (error["param"], error["code"]) == (name, "unknown_parameter")
        assert error["message"] == f"{name} has no effect here: {REFUSED[entry]}."


def test_the_content_of_extra_body_counts(api: Api) -> None:
    body = {"prompt": "x", "n": 1, "extra_body": {"seed": 7, "n": 3, "service_tier": "auto"}}
    answer = send_json(api, body)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["seed"], answer.json()["n"]) == (7, 1)
    assert warned(answer) == ["service_tier has no effect here and was left out."]
    nested = {"prompt": "x", "extra_body": {"extra_body": {"seed": 9}}}
    assert send_json(api, nested).json()["seed"] == 9
    assert warned(send_json(api, nested)) == []
    assert send_form(api, {"extra_body": '{"seed": 8}'}).json()["seed"] == 8
    assert error_of(send_form(api, {"extra_body": "{"}))["param"] == "extra_body"
    image_as_text = error_of(send_form(api, {"extra_body": '{"image": "x"}'}))
    assert image_as_text["message"] == "image: send it as a file of the form."
    assert error_of(send_json(api, {"prompt": "x", "extra_body": {"sampler": "x"}}))["param"] == "sampler"


def test_a_great_many_fields_are_refused_before_they_are_looked_at(api: Api) -> None:
    many = {f"k{number}": 1 for number in range(20_000)}
    for answer in (
        send_form(api, {"extra_body": json.dumps(many)}),
        send_json(api, {"prompt": "x", "extra_body": many}),
    ):
        assert error_of(answer)["message"] == "extra_body: more than 256 entries."
    assert error_of(send_json(api, {"prompt": "x", **many}))["param"] == "k0"


@pytest.mark.parametrize("name", ["litellm_\n", "litellm_é", "controlnet x", "xlitellm_a"])
def test_a_name_that_only_begins_like_one_is_unknown(api: Api, name: str) -> None:
    assert error_of(send_json(api, {"prompt": "x", name: "x"}))["message"].startswith("Unknown parameter: ")


def _counted(api: Api) -> float:
    name = 'imagegen_ignored_parameters_total{parameter="service_tier"} '
    lines = api.http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_the_answer_with_images_and_the_metrics_tell_it(api: Api) -> None:
    before = _counted(api)
    job = send_json(api, {"prompt": "x", "service_tier": "auto"}).json()
    api.complete(job["id"])
    assert api.http.get(f"/v3/images/jobs/{job['id']}/result").json()["warnings"] == job["warnings"]
    assert _counted(api) == before + 1


def test_an_answer_without_warnings_has_none(api: Api) -> None:
    job = send_json(api, {"prompt": "x"}).json()
    assert job["warnings"] == []
    api.complete(job["id"])
    assert api.http.get(f"/v3/images/jobs/{job['id']}/result").json()["warnings"] is None


def test_a_setting_refuses_them(redis_settings: RedisSettings) -> None:
    settings = Settings(
        redis=redis_settings,
        repository=RepositorySettings(model_path=bundled_model_path()),
        http=HttpSettings(strict_parameters=True),
    )
    with serving(settings) as strict:
        for answer in (send_json(strict, {"prompt": "x", "timeout": 5}), send_form(strict, {"timeout": "5"})):
            assert error_of(answer)["param"] == "timeout"


@pytest.mark.parametrize("name", ["image", "images", "mask"])
def test_an_image_in_a_generation_is_sent_to_the_other_route(api: Api, name: str) -> None:
    message = error_of(send_json(api, {"prompt": "x", name: "x"}, GENERATIONS))["message"]
    assert message == f"Unknown parameter: {name!r}. Images to edit go to images/edits."


def test_the_empty_text_means_not_given(api: Api) -> None:
    fields = sorted(set(EditBody.model_fields) - {"prompt", "images", "mask"})
    assert send_json(api, {"prompt": "", **dict.fromkeys(fields, "")}, GENERATIONS).status_code == 202
    assert send_form(api, dict.fromkeys(fields, ""), FILE).status_code == 202
    edit = {"prompt": "", "images": DATA_URL, **dict.fromkeys({*fields, "mask"} - {"image"}, "")}
    assert send_json(api, edit, EDITS).status_code == 202
