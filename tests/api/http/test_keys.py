from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.environment import load_settings
from config.settings import RedisSettings
from graphs.errors import ConfigurationError
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.support.redis_server import RunningRedis

GENERATIONS, JOBS = "/v3/images/generations", "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
PROTECTED = [
    ("POST", GENERATIONS),
    ("POST", "/v1/images/edits"),
    ("POST", "/v3/images/variations"),
    ("POST", JOBS),
    ("GET", JOBS),
    ("PUT", f"{JOBS}/x"),
    ("GET", f"{JOBS}/x"),
    ("GET", f"{JOBS}/x/result"),
    ("GET", f"{JOBS}/x/content"),
    ("GET", f"{JOBS}/x/events"),
    ("POST", f"{JOBS}/x/cancel"),
    ("DELETE", f"{JOBS}/x"),
    ("GET", "/v3/models"),
    ("GET", "/v1/models/demo"),
]
ONE, TWO = {"Authorization": "Bearer one"}, {"api-key": "two"}


@pytest.fixture(scope="module")
def shared_keyed(redis_server: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("one\ntwo max_priority=low\n")
    with serving(settings_for(redis_server.settings, {"api_key_file": path})) as running:
        yield running


@pytest.fixture
def keyed(shared_keyed: Api, redis_settings: RedisSettings) -> Api:
    assert shared_keyed.redis == redis_settings
    return shared_keyed


def _submitted(api: Api, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    answer = api.http.post(JOBS, json={**BODY, **more}, headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_every_route_of_clients_needs_a_key(keyed: Api, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic one"}, {"api-key": "wrong"}):
        answer = keyed.http.request(method, path, headers=headers)
        assert error_of(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [ONE, {"Authorization": "bearer  one"}, {"api-key": "one"}, TWO])
def test_either_header_may_hold_the_key(keyed: Api, headers: dict[str, str]) -> None:
    assert keyed.http.get("/v3/models", headers=headers).status_code == 200


def test_a_wrong_bearer_is_not_helped_by_a_right_key(keyed: Api) -> None:
    error_of(keyed.http.get("/v3/models", headers={"Authorization": "Bearer wrong", **TWO}), 401)


def test_probes_and_documentation_are_open(keyed: Api) -> None:
    assert keyed.http.get("/v2/health/live").status_code == 200
    assert keyed.http.get("/v2/health/ready").status_code == 503
    assert keyed.http.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/result"), ("GET", "/content"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")],
)
def test_a_job_of_another_key_is_not_found(keyed: Api, method: str, path: str) -> None:
    job = _submitted(keyed, ONE)
    answer = keyed.http.request(method, f"{JOBS}/{job['id']}{path}", headers=TWO)
    assert error_of(answer, 404)["code"] == "job_not_found"
    assert keyed.http.get(f"{JOBS}/{job['id']}", headers=ONE).json()["status"] == "queued"


def test_a_list_shows_only_the_jobs_of_its_key(keyed: Api) -> None:
    own, other = _submitted(keyed, ONE), _submitted(keyed, TWO)
    for headers, job in ((ONE, own), (TWO, other)):
        page = keyed.http.get(JOBS, headers=headers).json()
        assert [found["id"] for found in page["data"]] == [job["id"]]
    error_of(keyed.http.get(JOBS, params={"after": own["id"]}, headers=TWO), 404)


def test_a_priority_is_capped_by_the_key(keyed: Api) -> None:
    low = _submitted(keyed, TWO, priority="high")
    high = _submitted(keyed, ONE, priority="high")
    assert [low["queue_position"], high["queue_position"]] == [0, 0]


def test_the_same_idempotency_key_of_another_owner_is_another(keyed: Api) -> None:
    jobs = [_submitted(keyed, {**headers, "Idempotency-Key": "k"}) for headers in (ONE, TWO, ONE)]
    assert jobs[0]["id"] == jobs[2]["id"] != jobs[1]["id"]


def test_a_signed_url_needs_no_key(keyed: Api) -> None:
    with keyed.asking(headers=ONE, json={**BODY, "response_format": "url"}) as answer:
        keyed.complete(keyed.next_job())
        url = answer().json()["data"][0]["url"]
    assert keyed.http.get(url).status_code == 200


def test_a_key_from_the_environment_protects(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "ambient")
    with serving(load_settings(redis={"url": redis_settings.url})) as own:
        error_of(own.http.get("/v3/models"), 401)
        assert own.http.get("/v3/models", headers={"Authorization": "Bearer ambient"}).status_code == 200


def test_a_file_without_keys_does_not_open_the_server(redis_settings: RedisSettings, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# none\n")
    with pytest.raises(ConfigurationError), serving(settings_for(redis_settings, {"api_key_file": path})):
        pass
