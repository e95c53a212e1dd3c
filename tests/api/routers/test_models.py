"""The list of models."""

import pytest

from tests.api.api_support import Api, error_of


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_the_models_are_listed(api: Api, prefix: str) -> None:
    listed = api.http.get(f"{prefix}/models").json()
    found = {model["id"]: model for model in listed["data"]}
    assert (listed["object"], set(found)) == ("list", {"demo", "outline", "stripes", "mix"})
    assert found["mix"]["adapters"] == {"outline": 0.5, "stripes": 0.5}
    file = {"layers": {"denoiser": {"matched": 84, "total": 84}}, "ranks": [24, 24], "left_out": None}
    assert found["mix"]["adapter_files"] == {"outline": file, "stripes": file}
    model = found["demo"]
    assert model["adapter_files"] == {}
    assert (model["id"], model["object"], model["kind"], model["base"]) == ("demo", "model", "base", "demo")
    assert type(model["created"]) is int
    assert api.http.get(f"{prefix}/models/demo").json() == model


@pytest.mark.parametrize("name", ["nothing", "a/b", "%D0%B6", "x" * 5000])
def test_an_unknown_model_is_not_found(api: Api, name: str) -> None:
    error = error_of(api.http.get(f"/v3/models/{name}"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
