"""The list of models."""

import pytest

from graphs.repository.model_aliases import OPENAI_MODELS
from tests.api.api_support import Api, error_of


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_the_models_are_listed(api: Api, prefix: str) -> None:
    listed = api.http.get(f"{prefix}/models").json()
    found = {model["id"]: model for model in listed["data"]}
    own = [model["id"] for model in listed["data"] if model["alias_of"] is None]
    assert (listed["object"], set(own)) == ("list", {"demo", "outline", "stripes", "mix"})
    assert found["mix"]["adapters"] == {"outline": 0.5, "stripes": 0.5}
    file = {"layers": {"denoiser": {"matched": 84, "total": 84}}, "ranks": [24, 24], "left_out": None}
    assert found["mix"]["adapter_files"] == {"outline": file, "stripes": file}
    model = found["demo"]
    assert model["adapter_files"] == {}
    assert (model["id"], model["object"], model["kind"], model["base"]) == ("demo", "model", "base", "demo")
    assert type(model["created"]) is int
    assert api.http.get(f"{prefix}/models/demo").json() == model


def test_other_names_of_the_model_stand_after_it(api: Api) -> None:
    listed = api.http.get("/v1/models").json()["data"]
    aliases = [model["alias_of"] for model in listed]
    assert aliases == [None] * 4 + ["demo"] * len(OPENAI_MODELS)
    assert [model["id"] for model in listed[4:]] == list(OPENAI_MODELS)
    one = api.http.get("/v1/models/gpt-image-9").json()
    assert (one["id"], one["alias_of"], one["kind"]) == ("gpt-image-9", "demo", "base")


@pytest.mark.parametrize("name", ["nothing", "a/b", "%D0%B6", "x" * 5000])
def test_an_unknown_model_is_not_found(api: Api, name: str) -> None:
    error = error_of(api.http.get(f"/v3/models/{name}"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
