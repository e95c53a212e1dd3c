"""Artifacts by signed URL."""

import pytest

from config.settings import RedisSettings
from graphs.requests.output_formats import OUTPUT_FORMATS
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client

JOBS = "/v3/images/jobs"
BODY = {"prompt": "a red circle"}


@pytest.mark.parametrize(
    ("kind", "content_type"), [(name, image_format.content_type) for name, image_format in OUTPUT_FORMATS.items()]
)
@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_an_image_is_served_at_its_url(api: Api, kind: str, content_type: str, prefix: str) -> None:
    body = {**BODY, "response_format": "url", "output_format": kind, "n": 2}
    drawn = [image_bytes(red_image(), kind.upper()), b"second"]
    with api.asking(url=f"{prefix}/images/generations", json=body) as answer:
        api.complete(api.next_job(), *drawn)
        data = answer().json()["data"]
    assert [list(entry) for entry in data] == [["url", "seed"], ["url"]]
    for entry, content in zip(data, drawn, strict=True):
        assert entry["url"].startswith(f"{str(api.http.base_url).rstrip('/')}{prefix}/images/files/")
        served = api.http.get(entry["url"])
        assert (served.status_code, served.content, served.headers["content-type"]) == (200, content, content_type)
        assert served.headers["x-content-type-options"] == "nosniff"


def _image_url(api: Api) -> str:
    with api.asking(json={**BODY, "response_format": "url"}) as answer:
        api.complete(api.next_job())
        url: str = answer().json()["data"][0]["url"]
    return url


def test_a_forged_url_is_not_found(api: Api) -> None:
    url = _image_url(api)
    root, _, token = url.rpartition("/")
    forged = [
        f"{root}/x{token}",
        f"{root}/a.png",
        f"{root}/a.b.c.png",
        url.replace(".png", ".jpeg"),
        f"{url}.png",
    ]
    for wrong in forged:
        assert error_of(api.http.get(wrong), 404)["code"] == "job_not_found"


def test_a_signed_url_expires(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"url_ttl_s": 1, "public_url": "http://public.example/base/"})) as own:
        url = _image_url(own)
        assert url.startswith("http://public.example/base/v3/images/files/")
        path = url.removeprefix("http://public.example/base")
        assert own.http.get(path).status_code == 200
        wait_until(lambda: own.http.get(path).status_code != 200)
        assert error_of(own.http.get(path), 410)["code"] == "artifact_expired"


def test_artifacts_expire(api: Api) -> None:
    url = _image_url(api)
    job = api.submitted()
    api.complete(job["id"])
    with client(api.redis) as behind:
        behind.delete(*behind.keys(f"{keys.job('*')}:artifact:0"))
    assert error_of(api.http.get(url), 410)["code"] == "artifact_expired"
    assert error_of(api.http.get(job["urls"]["result"]), 410)["code"] == "artifact_expired"
