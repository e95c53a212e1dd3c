"""imagegen.toml, served: aliases, size fit, guidance and response format, of the repository and of one model."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.service import Service, serving, write_graph

PROMPT = "a red circle on a blue background"
OF_ALL = """\
default_size_fit = "nearest"
default_guidance_scale = 2.5

[model_aliases]
"dall-e-3" = "plain"
"""
OF_GUIDED = """\
aliases = ["gpt-image-*"]
default_guidance_scale = 4.5
default_response_format = "url"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("own_options")
    for name in ("guided", "plain"):
        write_graph(folder / "models" / name, steps=2, more='max_resolution: "128x128" default_resolution: "128x128"')
    (folder / "models" / "imagegen.toml").write_text(OF_ALL)
    (folder / "models" / "guided" / "imagegen.toml").write_text(OF_GUIDED)
    with serving(folder, "--model_repository_path", str(folder / "models")) as running:
        yield running


def _drawn(service: Service, model: str, **fields: Any) -> bytes:
    body = {"response_format": "b64_json", "seed": 7, **fields}
    drawn = service.client().images.generate(model=model, prompt=PROMPT, extra_body=body)
    assert drawn.data is not None and drawn.data[0].b64_json is not None
    return base64.b64decode(drawn.data[0].b64_json)


def _job(service: Service, **fields: Any) -> dict[str, Any]:
    answer = service.http.post("/v1/images/jobs", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_names_of_both_files_mean_their_models(service: Service) -> None:
    listed = service.http.get("/v1/models").json()["data"]
    aliases = {model["id"]: model["alias_of"] for model in listed if model["alias_of"]}
    assert aliases["dall-e-3"] == "plain"
    assert aliases["gpt-image-1"] == "guided"
    assert _job(service, model="gpt-image-1.5")["model"] == "guided"
    assert _job(service, model="openai/dall-e-3")["model"] == "plain"


def test_the_default_guidance_is_drawn_and_the_job_shows_it(service: Service) -> None:
    assert _job(service, model="guided")["guidance_scale"] == 4.5
    assert _job(service, model="plain")["guidance_scale"] == 2.5
    assert _job(service, model="guided", guidance_scale=7)["guidance_scale"] == 7
    by_alias = _drawn(service, "gpt-image-1")
    assert by_alias == _drawn(service, "guided", guidance_scale=4.5)
    assert by_alias != _drawn(service, "guided", guidance_scale=2.5)


def test_a_size_that_the_model_does_not_draw_becomes_the_nearest(service: Service) -> None:
    drawn = service.client().images.generate(model="gpt-image-1", prompt=PROMPT, size="1536x1024")
    assert (drawn.model_extra or {})["warnings"] == [
        "The size 1536x1024 was asked for; 128x88 is drawn, the nearest size of this model."
    ]


def test_the_format_of_the_answer_is_that_of_the_model(service: Service) -> None:
    drawn = service.client().images.generate(model="guided", prompt=PROMPT).data
    assert drawn is not None and drawn[0].url is not None
    assert service.http.get(drawn[0].url).content.startswith(b"\x89PNG")
    plain = service.client().images.generate(model="plain", prompt=PROMPT).data
    assert plain is not None and plain[0].b64_json is not None
