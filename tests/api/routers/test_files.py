"""Artifacts by signed URL."""

import pytest

from config.settings import RedisSettings
from graphs.requests.output_formats import OUTPUT_FORMATS
from tests.api.api_support import Api, error_of, serving, settings_for
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.support.redis_keys import keys
from tests.workers.jobs.jobs_support import client, on_store

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


@pytest.mark.parametrize("prefix", ["/v1", "/v3"])
def test_a_completed_job_says_where_its_images_are_and_how_large(api: Api, prefix: str) -> None:
    job = api.submitted(json={**BODY, "n": 2, "output_format": "webp", "size": "128x64"})
    path = f"{prefix}/images/jobs/{job['id']}"
    assert (job["files"], api.http.get(path).json()["files"]) == ([], [])
    api.complete(job["id"], b"one", b"second")
    found = api.http.get(path).json()
    assert [file["size_bytes"] for file in found["files"]] == [3, 6]
    for file, content in zip(found["files"], (b"one", b"second"), strict=True):
        assert (file["media_type"], file["width"], file["height"]) == ("image/webp", 128, 64)
        assert found["completed_at"] < file["expires_at"] <= found["expires_at"]
        assert file["url"].startswith(f"{str(api.http.base_url).rstrip('/')}{prefix}/images/files/")
        served = api.http.get(file["url"])
        assert (served.content, served.headers["content-type"]) == (content, file["media_type"])
    (listed,) = api.http.get(f"{prefix}/images/jobs").json()["data"]
    assert listed["files"] is None
    assert {**listed, "files": found["files"]} == found


def test_the_address_of_a_file_ends_before_its_image(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, {"url_ttl_s": 7})) as own:
        job_id = own.submitted()["id"]
        own.complete(job_id)
        job = own.job(job_id)
    assert job["completed_at"] + 7 <= job["files"][0]["expires_at"] < job["expires_at"]


def test_files_have_addresses_of_the_key_of_now(api: Api) -> None:
    job_id = api.submitted()["id"]
    api.complete(job_id)
    before = api.job(job_id)["files"][0]["url"]
    on_store(api.redis, lambda store: store.rotate_signing_key())
    assert error_of(api.http.get(before), 404)["code"] == "job_not_found"
    assert api.http.get(api.job(job_id)["files"][0]["url"]).status_code == 200


def test_a_job_of_an_older_release_has_files_without_sizes(api: Api) -> None:
    job_id = api.submitted()["id"]
    api.complete(job_id)
    with client(api.redis) as raw:
        assert raw.hdel(keys.job(job_id), "artifact_sizes") == 1
    assert [file["size_bytes"] for file in api.job(job_id)["files"]] == [None]


def test_the_images_of_an_expired_job_are_no_files(redis_settings: RedisSettings) -> None:
    with serving(settings_for(redis_settings, result_ttl_s=1)) as own:
        job_id = own.submitted()["id"]
        own.complete(job_id)
        wait_until(lambda: own.job(job_id)["status"] == "expired")
        assert own.job(job_id)["files"] == []


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
