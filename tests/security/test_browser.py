"""Pages in a real Chromium: one of another origin cannot read, draw or delete, unless its origin is allowed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from config.http_settings import WebSettings
from config.settings import RedisSettings, Settings
from tests.api.api_support import Api, serving
from tests.security.browser import Browser, browser, is_installed, page

pytestmark = pytest.mark.skipif(not is_installed(), reason="needs Chromium: apt-get install chromium chromium-driver")
BODY = json.dumps({"prompt": "a red circle"})
JSON = {"Content-Type": "application/json"}
JOBS = "/v3/images/jobs"


@pytest.fixture(scope="module")
def chromium(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def foreign() -> Iterator[str]:
    """The origin of a page that is not the server's."""
    with page() as origin:
        yield origin


def _url(api: Api) -> str:
    return str(api.http.base_url).rstrip("/")


def _attempts(server: str, job_id: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what a page tries: for each attempt the address and the options of fetch()."""
    job = f"{server}{JOBS}/{job_id}"
    plain = {"method": "POST", "body": BODY, "headers": {"Content-Type": "text/plain"}}
    return {
        "list": (f"{server}{JOBS}", {}),
        "read": (f"{job}/content", {}),
        "draw": (f"{server}{JOBS}", {"method": "POST", "body": BODY, "headers": JSON}),
        "draw without asking": (f"{server}{JOBS}", plain),
        "draw without reading": (f"{server}{JOBS}", {**plain, "mode": "no-cors"}),
        "cancel": (f"{job}/cancel", {"method": "POST"}),
        "delete": (job, {"method": "DELETE"}),
    }


def test_a_page_of_another_origin_cannot_read_draw_or_delete(chromium: Browser, api: Api, foreign: str) -> None:
    chromium.open(foreign)
    job = api.submitted()
    for name, (url, options) in _attempts(_url(api), job["id"]).items():
        found = chromium.fetch(url, **options)
        if name == "draw without reading":  # the page sees nothing of such an answer, not even its status
            assert (found["type"], found["text"]) == ("opaque", "")
        else:
            assert "Failed to fetch" in found["failed"], name
    assert api.job(job["id"])["status"] == "queued"
    assert [found["id"] for found in api.http.get(JOBS).json()["data"]] == [job["id"]]


def test_a_page_of_an_allowed_origin_can(chromium: Browser, redis_settings: RedisSettings, foreign: str) -> None:
    with serving(Settings(redis=redis_settings, web=WebSettings(allowed_origins=foreign))) as api:
        chromium.open(foreign)
        server = _url(api)
        job = chromium.fetch(f"{server}{JOBS}", method="POST", body=BODY, headers=JSON)
        assert job["status"] == 202
        assert {"location", "retry-after", "x-request-id", "openai-poll-after-ms"} <= set(job["headers"])
        job_id = json.loads(job["text"])["id"]
        api.complete(job_id)
        assert chromium.fetch(f"{server}{JOBS}/{job_id}/content")["headers"]["content-type"] == "image/png"
        assert len(json.loads(chromium.fetch(f"{server}{JOBS}")["text"])["data"]) == 1
        assert chromium.fetch(f"{server}{JOBS}/{job_id}", method="DELETE")["status"] == 200
        assert api.http.get(f"{JOBS}/{job_id}").status_code == 404


def test_a_name_that_was_made_to_point_here_opens_nothing(chromium: Browser, api: Api) -> None:
    """The page is of the server's own origin for the browser, so that nothing but its name gives it away."""
    job = api.submitted()
    port = api.http.base_url.port
    rebound = f"http://rebound.example.com:{port}"
    chromium.open(f"{rebound}/docs")
    for name, (url, options) in _attempts(rebound, job["id"]).items():
        found = chromium.fetch(url, **options)
        assert found["status"] == 403, name
        assert "host_not_allowed" in found["text"], name
    assert api.job(job["id"])["status"] == "queued"


def test_the_servers_own_pages_work_under_their_policy(chromium: Browser, api: Api) -> None:
    job = api.submitted()
    api.complete(job["id"])
    chromium.open(_url(api) + "/docs")
    found = chromium.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const look = () => /generations/i.test(document.body.innerText)
          ? done(document.body.innerHTML.includes("swagger-ui")) : requestAnimationFrame(look);
        look();
        """
    )
    assert found
    assert [message for message in chromium.messages() if "Content Security Policy" in message] == []
    drawn = chromium.fetch(f"{_url(api)}{JOBS}", method="POST", body=BODY, headers=JSON)
    assert drawn["status"] == 202
    assert chromium.fetch(f"{_url(api)}{JOBS}/{job['id']}/content")["status"] == 200


def test_nothing_of_the_server_is_shown_in_a_frame(chromium: Browser, api: Api, foreign: str) -> None:
    job = api.submitted()
    api.complete(job["id"])
    chromium.open(foreign)
    for path in ("/docs", f"{JOBS}/{job['id']}/content"):
        chromium.messages()
        chromium.driver.execute_async_script(
            """
            const done = arguments[arguments.length - 1];
            const frame = document.createElement("iframe");
            frame.onload = done;
            frame.src = arguments[0];
            document.body.append(frame);
            """,
            _url(api) + path,
        )
        assert any("frame-ancestors" in message for message in chromium.messages()), path
