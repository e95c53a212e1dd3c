"""The paths of clients that add prefixes or slashes, and HEAD."""

from typing import Any

import pytest

from tests.api.api_support import AT_ONCE, Api, error_of


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "/api/v1", "/api/v3", "/v3/v1", "/openai/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_spelling_of_a_path_is_the_same_route(api: Api, prefix: str, slash: str) -> None:
    models = api.http.get(f"{prefix}/models{slash}", follow_redirects=False)
    assert models.json()["data"][0]["id"] == "demo"
    assert api.http.get(f"{prefix}/models/demo{slash}").json()["id"] == "demo"
    answer = api.http.post(f"{prefix}/images/generations{slash}", json={"prompt": "x"}, headers=AT_ONCE)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["urls"]["self"]
    assert api.http.get(job["urls"]["self"]).json()["id"] == job["id"]


@pytest.mark.parametrize(
    ("path_model", "body_model", "drawn"), [("mix", None, "mix"), ("mix", "demo", "demo"), ("org/mix", None, "mix")]
)
def test_azure_names_the_model_in_the_path(api: Api, path_model: str, body_model: str | None, drawn: str) -> None:
    body: dict[str, Any] = {"prompt": "x", "model": body_model}
    path = f"/openai/deployments/{path_model}/images/generations?api-version=2026-01-01"
    job = api.http.post(path, json=body, headers={**AT_ONCE, "api-key": "x"}).json()
    assert job["model"] == drawn
    assert api.http.get(job["urls"]["self"]).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/openai/models",
        "/openai/images/jobs?api-version=2026-01-01",
        "//v1/models",
        "/v1//models/",
        "/openai/deployments/a/b/images/jobs",
    ],
)
def test_azures_paths_without_a_deployment_and_doubled_slashes_are_found(api: Api, path: str) -> None:
    assert api.http.get(f"http://{api.http.base_url.netloc.decode()}{path}").status_code == 200


@pytest.mark.parametrize("path", ["/openai/deployments/mix/chat/completions", "/api/tags", "/v4/models", "/api/models"])
def test_other_paths_are_unknown(api: Api, path: str) -> None:
    assert error_of(api.http.get(path), 404)["code"] == "not_found"


def test_head_is_get_without_the_body(api: Api) -> None:
    job = api.submitted()
    api.complete(job["id"])
    for path in ("/v3/models", "/v1/models/demo", "/v2/health/live", f"/v3/images/jobs/{job['id']}/content"):
        assert api.http.head(path).status_code == 200, path
        assert api.http.head(path).headers["content-type"] == api.http.get(path).headers["content-type"]
    assert api.http.head("/v3/models/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/v3/images/generations", "/v3/images/jobs/x/events"])
def test_head_is_refused_elsewhere(api: Api, path: str) -> None:
    assert api.http.head(path).status_code == 405


def test_the_address_itself_leads_to_the_documentation(api: Api) -> None:
    answer = api.http.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")
    assert "swagger" in api.http.get("/", follow_redirects=True).text
