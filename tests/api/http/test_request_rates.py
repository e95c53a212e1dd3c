"""How many requests an API key may send in a minute."""

from pathlib import Path

import pytest

from config.settings import RedisSettings
from tests.api.api_support import error_of, serving, settings_for
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client

GENERATIONS, JOBS = "/v3/images/generations", "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
COUNTED = [("POST", GENERATIONS), ("POST", "/v1/images/edits"), ("POST", "/v1/images/variations"), ("POST", JOBS)]


@pytest.mark.parametrize(("method", "path"), [*COUNTED, ("PUT", f"{JOBS}/mine")])
def test_one_request_too_many_is_refused_on_every_route(redis_settings: RedisSettings, method: str, path: str) -> None:
    with serving(settings_for(redis_settings, {"requests_per_minute": 2})) as api:
        for _ in range(2):
            assert api.http.post(JOBS, json=BODY).status_code == 202
        answer = api.http.request(method, path, json=BODY)
        error = error_of(answer, 429)
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert "2 requests a minute" in error["message"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        for found in ("/v3/models", JOBS, "/v2/health/live"):
            assert api.http.get(found).status_code == 200


def test_keys_have_rates_of_their_own(redis_settings: RedisSettings, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one\ntwo requests_per_minute=1\nthree requests_per_minute=3\n")
    with serving(settings_for(redis_settings, {"api_key_file": path, "requests_per_minute": 2})) as api:
        for key, rate in (("one", 2), ("two", 1), ("three", 3)):
            answers = [api.http.post(JOBS, json=BODY, headers={"api-key": key}).status_code for _ in range(rate + 1)]
            assert answers == [202] * rate + [429]
        error_of(api.http.post(JOBS, json=BODY, headers={"api-key": "wrong"}), 401)


def test_the_rate_is_that_of_all_api_processes_and_ends(redis_settings: RedisSettings) -> None:
    settings = settings_for(redis_settings, {"requests_per_minute": 2})
    with serving(settings) as api, serving(settings) as another:
        for process in (api, another):
            assert process.http.post(JOBS, json=BODY).status_code == 202
        for process in (api, another):
            error_of(process.http.post(JOBS, json=BODY), 429)
    with client(redis_settings) as behind:
        counts = list(behind.scan_iter(f"{keys.request_rates}*"))
        assert counts
        assert all(0 < int(str(behind.ttl(key))) <= 120 for key in counts)


def test_without_a_rate_nothing_is_counted(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings)) as api:
        for _ in range(5):
            assert api.http.post(JOBS, json=BODY).status_code == 202
    with client(redis_settings) as behind:
        assert list(behind.scan_iter(f"{keys.request_rates}*")) == []


def test_an_absent_redis_is_reported(redis_settings: RedisSettings) -> None:
    away = settings_for(RedisSettings(url="redis://127.0.0.1:1/0"), {"requests_per_minute": 2})
    with serving(away) as api:
        assert error_of(api.http.post(JOBS, json=BODY), 503)["code"] == "service_unavailable"
