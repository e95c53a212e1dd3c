"""X-Forwarded-Prefix: whose is believed, and what of it. tests/stack/test_proxies.py has real proxies."""

from typing import Any

import pytest

from api.http.proxies import forwarded_prefix
from config.http_settings import ConnectionSettings
from config.settings import RedisSettings
from tests.api.api_support import AT_ONCE, Api, serving, settings_for

HEADER = "X-Forwarded-Prefix"


def _prefix(*sent: str, is_from_proxy: bool = True) -> str:
    headers = [(HEADER.lower().encode(), value.encode("latin-1")) for value in sent]
    return forwarded_prefix({"headers": headers, "state": {"is_from_proxy": is_from_proxy}})


@pytest.mark.parametrize(
    ("sent", "used"),
    [
        ("/images-api", "/images-api"),
        ("/images-api/", "/images-api"),
        (" /a/b_c.d~e ", "/a/b_c.d~e"),
        ("/", ""),
        ("", ""),
        ("/" + "a" * 199, "/" + "a" * 199),
    ],
)
def test_a_plain_path_is_used(sent: str, used: str) -> None:
    assert _prefix(sent) == used
    assert _prefix(sent, is_from_proxy=False) == ""


@pytest.mark.parametrize(
    "sent",
    [
        *("images-api", "//evil.example.com", "/a//b", "/a/../b", "/..", "/./a", "/a,/b", "/a b", "/a%2Fb", "/a?b"),
        *("/a#b", "/a\\b", "/<script>", '/a"b', "/a\r\nx: y", "/ä", "https://evil.example.com", "/" + "a" * 200),
    ],
)
def test_anything_else_is_not(sent: str) -> None:
    assert _prefix(sent) == ""


def test_of_two_headers_none_is_used() -> None:
    assert _prefix("/a", "/b") == ""


def _links(api: Api, **headers: str) -> dict[str, Any]:
    answer = api.http.post("/v3/images/jobs", json={"prompt": "x"}, headers={**AT_ONCE, **headers})
    assert answer.status_code == 202
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["urls"]["self"]
    return job


# A path of a proxy may have the name of one of our own.
@pytest.mark.parametrize("prefix", ["/images-api", "/v3", "/v3/images", "/api", "/docs", "/openai"])
def test_links_have_the_path_and_routes_are_found(api: Api, prefix: str) -> None:
    root = str(api.http.base_url).rstrip("/")
    job = _links(api, **{HEADER: prefix})
    assert job["urls"]["self"] == f"{root}{prefix}/v3/images/jobs/{job['id']}"
    for path in (f"/v3/images/jobs/{job['id']}", f"/api/v1/images/jobs/{job['id']}", "/docs", "/v3/models/"):
        assert api.http.get(path, headers={HEADER: prefix}).status_code == 200, path
    assert api.http.head("/v1/models", headers={HEADER: prefix}).status_code == 200
    page = api.http.get("/docs", headers={HEADER: prefix})
    assert f'"{prefix}/swagger-ui/swagger-ui-bundle.js"' in page.text
    assert "content-security-policy" in page.headers
    metrics = api.http.get("/metrics").text
    assert f'route="{prefix}' not in metrics.replace('route="/v3/', "").replace('route="/docs"', "")


def test_other_addresses_than_those_of_trusted_proxies_are_not_believed(redis_settings: RedisSettings) -> None:
    settings = settings_for(redis_settings)
    connections = ConnectionSettings(trusted_proxies="192.0.2.1")
    with serving(settings.model_copy(update={"connections": connections})) as api:
        assert "/images-api" not in _links(api, **{HEADER: "/images-api"})["urls"]["self"]
