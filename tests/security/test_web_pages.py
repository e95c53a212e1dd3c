"""What web pages can make a browser send, and what they get; and that clients that are no browsers notice nothing."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from config.http_settings import WebSettings
from config.settings import RedisSettings, Settings
from tests.api.api_support import AT_ONCE, PNG, Api, error_of, serving
from tests.support.redis_server import RunningRedis

GENERATIONS, JOBS = "/v3/images/generations", "/v3/images/jobs"
BODY = {"prompt": "a red circle"}
APP = "https://app.example.com"
EVIL = "https://evil.example.com"


@pytest.fixture(scope="module")
def allowing(redis_server: RunningRedis) -> Iterator[Api]:
    """An API without keys that lets one origin and one name in."""
    web = WebSettings(
        allowed_origins=f"{APP}, http://localhost:3000", allowed_hosts="images.example.com,*.corp.example.com"
    )
    with serving(Settings(redis=redis_server.settings, web=web)) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(redis_server: RunningRedis) -> Iterator[Api]:
    settings = Settings(redis=redis_server.settings)
    with serving(settings.model_copy(update={"http": settings.http.model_copy(update={"api_key": "k"})})) as running:
        yield running


@pytest.fixture(autouse=True)
def _emptied(redis_settings: RedisSettings) -> None:
    """Begin each test with an empty Redis."""


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:8000", "127.0.0.1.example.com", "local.evil"])
def test_a_name_that_points_here_lists_reads_and_deletes_nothing(api: Api, host: str) -> None:
    """DNS rebinding: for the browser, the page has the server's own origin."""
    job = api.submitted()
    api.complete(job["id"])
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    path = f"{JOBS}/{job['id']}"
    for method, target in (
        ("GET", JOBS),
        ("GET", path),
        ("GET", f"{path}/content"),
        ("GET", f"{path}/result"),
        ("DELETE", path),
        ("POST", f"{path}/cancel"),
        ("POST", GENERATIONS),
        ("GET", "/v3/models"),
        ("GET", "/docs"),
        ("GET", "/metrics"),
    ):
        error = error_of(api.http.request(method, target, headers=own), 403)
        assert error["code"] == "host_not_allowed"
        assert "--allowed_hosts" in error["message"]
    assert api.job(job["id"])["status"] == "completed"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "[::1]:8000", "192.0.2.7", "localhost:8000", "app.localhost", "api", "api:8000", "gpu_box"),
        *("studio.local", "x.internal", "x.lan", "api.images.svc", "api.images.svc.cluster.local", "x.home.arpa"),
        *("host.docker.internal:8000", "LOCALHOST", "localhost."),
    ],
)
def test_local_names_are_served(api: Api, host: str) -> None:
    assert api.http.get("/v3/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("images.example.com", 200), ("images.example.com:8443", 200), ("a.corp.example.com", 200)),
        *(("example.com", 403), ("corp.example.com", 403), ("evilimages.example.com", 403)),
    ],
)
def test_other_names_are_served_where_they_are_allowed(allowing: Api, host: str, status: int) -> None:
    assert allowing.http.get("/v3/models", headers={"Host": host}).status_code == status


def test_the_names_in_the_settings_are_served(redis_settings: RedisSettings) -> None:
    settings = Settings(redis=redis_settings)
    own = {"public_url": "https://images.example.com/api", "rest_bind_address": "box.example.com"}
    http = settings.http.model_copy(update=own)
    with serving(settings.model_copy(update={"http": http})) as api:
        for host in ("images.example.com", "box.example.com:8000"):
            assert api.http.get("/v3/models", headers={"Host": host}).status_code == 200
        page = {"Host": "upstream", "Origin": "https://images.example.com"}
        assert api.http.post(JOBS, json=BODY, headers=page).status_code == 202


def test_with_keys_the_key_decides_and_not_the_name(keyed: Api) -> None:
    headers = {"Host": "images.example.com", "Authorization": "Bearer k"}
    assert keyed.http.get("/v3/models", headers=headers).status_code == 200
    assert keyed.http.get("/v3/models", headers={"Host": "images.example.com"}).status_code == 401


FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:5173"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "file://"},
    {"Origin": EVIL, "X-Forwarded-Host": "other.example.com"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_page_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    job = api.submitted()
    for method, path, more in (
        ("POST", GENERATIONS, {"json": BODY}),
        ("POST", GENERATIONS, {"content": b'{"prompt":"a"}', "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/v3/images/edits", {"files": {"image": PNG}, "data": BODY}),
        ("POST", JOBS, {"json": BODY}),
        ("PUT", f"{JOBS}/mine", {"json": BODY}),
        ("POST", f"{JOBS}/{job['id']}/cancel", {}),
        ("DELETE", f"{JOBS}/{job['id']}", {}),
        ("POST", "/v3/lora_adapters", {"json": {}}),
    ):
        options: dict[str, Any] = dict(more)
        sent = {**headers, **options.pop("headers", {})}
        assert error_of(api.http.request(method, path, headers=sent, **options), 403)["code"] == "origin_not_allowed"
    assert api.job(job["id"])["status"] == "queued"
    assert len(api.http.get(JOBS).json()["data"]) == 1


def test_a_page_of_the_server_itself_may_change_things(api: Api) -> None:
    own = str(api.http.base_url).rstrip("/")
    for headers in (
        {"Sec-Fetch-Site": "same-origin", "Origin": own},
        {"Sec-Fetch-Site": "none"},
        {"Origin": own},  # a browser that reads the server by plain HTTP and a local name sends no Sec-Fetch-Site
        {"Host": "studio.lan", "Origin": "http://studio.lan"},
        {"Host": "studio.lan:80", "Origin": "http://studio.lan"},
    ):
        assert api.http.post(JOBS, json=BODY, headers=headers).status_code == 202, headers


def test_a_trusted_proxy_says_under_which_name_it_was_asked(api: Api, redis_settings: RedisSettings) -> None:
    page = {
        "Origin": "https://images.example.com",
        "X-Forwarded-Host": "images.example.com",
        "X-Forwarded-For": "9.9.9.9",
    }
    assert api.http.post(JOBS, json=BODY, headers=page).status_code == 202
    settings = Settings(redis=redis_settings)
    connections = settings.connections.model_copy(update={"trusted_proxies": "192.0.2.1"})
    with serving(settings.model_copy(update={"connections": connections})) as other:
        assert error_of(other.http.post(JOBS, json=BODY, headers=page), 403)["code"] == "origin_not_allowed"


@pytest.mark.parametrize("mark", ["Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode"])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data; boundary=b"]
)
def test_a_browser_must_send_json_as_json(api: Api, mark: str, kind: str) -> None:
    own = str(api.http.base_url).rstrip("/")
    value = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}.get(mark, own)
    headers = {mark: value, **({"Content-Type": kind} if kind else {})}
    error = error_of(api.http.post(GENERATIONS, content=b'{"prompt": "a"}', headers=headers), 415)
    assert error["code"] == "unsupported_media_type"
    job = api.http.post(JOBS, content=b'{"prompt": "a"}', headers=headers | {"Content-Type": "application/json; x=y"})
    assert job.status_code == 202, job.text


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
def test_command_line_clients_may_send_json_under_any_type(api: Api, kind: str | None) -> None:
    """``curl -d`` says that it sends a form."""
    headers = {"User-Agent": "curl/8.14.1", "Accept": "*/*", **AT_ONCE, **({"Content-Type": kind} if kind else {})}
    assert api.http.post(GENERATIONS, content=b'{"prompt": "a"}', headers=headers).status_code == 202


def test_the_openai_client_notices_nothing(api: Api) -> None:
    with OpenAI(base_url=f"{api.http.base_url}/v3", api_key="unused", max_retries=0) as client:
        assert client.post("/images/jobs", cast_to=object, body=BODY)
        assert client.models.list().data


def test_without_the_option_no_answer_is_for_other_origins(api: Api) -> None:
    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    for answer in (api.http.options(GENERATIONS, headers=preflight), api.http.get(JOBS, headers={"Origin": APP})):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_preflights_of_allowed_origins_are_answered(allowing: Api) -> None:
    preflight = {
        "Origin": APP,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key, x-stainless-lang",
    }
    answer = allowing.http.options(f"{JOBS}/mine", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]
    refused = allowing.http.options(JOBS, headers={**preflight, "Origin": EVIL})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


def test_allowed_origins_read_answers_and_their_headers(allowing: Api) -> None:
    page = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
    answer = allowing.http.post(JOBS, json={**BODY, "service_tier": "auto"}, headers=page)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed == {"x-request-id", "location", "retry-after", "openai-poll-after-ms", "x-imagegen-warnings"}
    assert exposed <= set(answer.headers)
    # Errors can be read as well, also those of the middleware.
    for refused in (
        allowing.http.get(f"{JOBS}/none", headers=page),
        allowing.http.get(JOBS, headers={**page, "Host": "evil.example.com"}),
    ):
        assert refused.status_code in (403, 404)
        assert refused.headers["access-control-allow-origin"] == APP
    foreign = allowing.http.post(JOBS, json=BODY, headers={**page, "Origin": EVIL})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers


def test_all_origins_may_be_allowed_and_credentials_with_some(redis_settings: RedisSettings) -> None:
    page = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
    with serving(Settings(redis=redis_settings, web=WebSettings(allowed_origins="*", allowed_methods="GET"))) as api:
        answer = api.http.post(JOBS, json=BODY, headers=page)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, "*")
        assert "access-control-allow-credentials" not in answer.headers
        preflight = {"Origin": EVIL, "Access-Control-Request-Method": "DELETE"}
        assert api.http.options(JOBS, headers=preflight).status_code == 400
    web = WebSettings(allowed_origins=EVIL, allow_credentials=True, allowed_headers="x-mine")
    with serving(Settings(redis=redis_settings, web=web)) as api:
        answer = api.http.get(JOBS, headers=page)
        assert answer.headers["access-control-allow-credentials"] == "true"


def test_answers_cannot_be_framed_sniffed_or_kept(api: Api) -> None:
    job = api.submitted()
    api.complete(job["id"])
    content = api.http.get(f"{JOBS}/{job['id']}/content")
    assert content.headers["content-type"] == "image/png"
    assert "frame-ancestors 'none'" in content.headers["content-security-policy"]
    assert "sandbox" in content.headers["content-security-policy"]
    policy = api.http.get("/docs").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]
    for path in (JOBS, f"{JOBS}/{job['id']}", f"{JOBS}/{job['id']}/result", f"{JOBS}/none"):
        assert api.http.get(path).headers["cache-control"] == "no-store"
    for path in (JOBS, f"{JOBS}/{job['id']}/content", "/docs", "/nothing", "/metrics", "/v2/health/live"):
        assert api.http.get(path).headers.get_list("x-content-type-options") == ["nosniff"]


def test_a_request_without_a_host_is_served(api: Api) -> None:
    """HTTP/1.0 has no Host; no browser speaks it."""
    with socket.create_connection((api.http.base_url.host, api.http.base_url.port or 0), 10) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
