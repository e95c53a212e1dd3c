"""Signed addresses, forged and expired, over HTTP: nothing tells why a token is wrong, nor which jobs exist."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from config.settings import RedisSettings
from tests.api.api_support import PNG, Api, error_of, serving, settings_for
from tests.fuzz.fuzz_support import check_answer, examples, explore
from tests.support.polling import pause
from tests.support.redis_server import RunningRedis

FILES = "/v3/images/files"


@pytest.fixture
def api(redis_server: RunningRedis, redis_settings: RedisSettings) -> Iterator[Api]:
    with serving(settings_for(redis_server.settings)) as running:
        yield running


def _address(api: Api) -> tuple[str, str]:
    """A completed job's id and the path of its image."""
    with api.asking(json={"prompt": "a star", "response_format": "url"}) as answer:
        job_id = api.next_job()
        api.complete(job_id, PNG)
        url = str(answer().json()["data"][0]["url"])
    return job_id, url[url.index("/v3/") :]


@examples(60, 300)
def test_no_forged_address_leads_anywhere_or_tells_why(api: Api, count: int) -> None:
    job_id, path = _address(api)
    assert api.http.get(path).content == PNG
    token = path.removeprefix(f"{FILES}/").removesuffix(".png")
    forged = [
        URLSafeTimedSerializer("guess", salt="picture").dumps([job_id, 0, "anyone", 1]),
        URLSafeTimedSerializer("guess", salt="picture").dumps(["imgjob_absent", 0]),
        URLSafeTimedSerializer("guess", salt="other").dumps([job_id, 0]),
        token.rpartition(".")[0],
        token + "A",
        "." + token,
        token.swapcase(),
        job_id,
        "x" * 6000,
    ]
    answers = [api.http.get(f"{FILES}/{text}.png") for text in forged]
    messages = {(error_of(answer, 404)["message"], error_of(answer, 404)["code"]) for answer in answers}
    assert len(messages) == 1
    assert error_of(api.http.get(f"{FILES}/{token}.jpeg"), 404)["message"] == next(iter(messages))[0]

    def check(place: int, put: str) -> None:
        changed = token[:place] + put + token[place + 1 :]
        if changed == token:
            return
        answer = api.http.get(f"{FILES}/{changed}.png")
        check_answer(answer.status_code, answer.headers["content-type"], answer.headers["x-request-id"], answer.content)
        assert (answer.json()["error"]["message"], answer.json()["error"]["code"]) in messages

    # The last character holds unused bits: another one may mean the same signature.
    letters = st.sampled_from("Aa0-_.~") | st.characters(exclude_characters="/?#%\\", exclude_categories=["Cs", "Cc"])
    explore(check, count, place=st.integers(0, len(token) - 2), put=letters)


def test_an_expired_address_is_gone(redis_server: RunningRedis, redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_server.settings, {"url_ttl_s": 1})) as api:
        _, path = _address(api)
        end = time.monotonic() + 30
        while (answer := api.http.get(path)).status_code == 200 and time.monotonic() < end:
            pause(0.05)  # a token's times are whole seconds
        assert error_of(answer, 410)["code"] == "artifact_expired"
        changed = path.replace(".png", "A.png")
        assert error_of(api.http.get(changed), 404)["code"] == "job_not_found"


def test_an_erased_jobs_address_tells_no_more_than_a_forged_one(api: Api) -> None:
    job_id, path = _address(api)
    api.http.delete(f"/v3/images/jobs/{job_id}")
    assert error_of(api.http.get(path), 404)["code"] == "job_not_found"
