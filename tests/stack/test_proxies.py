"""The service behind nginx and Caddy, below a path of another site, with the configurations of docs/proxies.md."""

import base64
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from PIL import Image

from cli.local.embedded_redis import prepared_url
from tests.stack.proxy_support import PATH, caddy, nginx, program, running
from tests.stack.worker_support import Process
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import Service, serving, write_graph

# Ten images of a hundred steps are not drawn in less time than two answers take.
LONG: dict[str, Any] = {"prompt": "a red circle", "num_inference_steps": 100, "size": "128x128", "n": 10}
SHORT: dict[str, Any] = {"prompt": "a red circle", "num_inference_steps": 1, "size": "64x64", "n": 1}
BIG_SIDE_PX = 2600


@dataclass(frozen=True)
class Site:
    """A service behind a proxy. ``url`` is where its clients reach it; ``bare`` is the same without the header that
    tells the path."""

    url: str
    bare: str
    service: Service

    def status_of(self, job_id: str) -> str:
        """Ask the service itself for a job's status."""
        return str(self.service.http.get(f"/v1/images/jobs/{job_id}").json()["status"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return write_graph(folder / "demo", steps=2, more='max_resolution: "128x128" default_resolution: "64x64"')


@pytest.fixture(scope="module")
def service(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), "--model_path", str(model)) as running:
        yield running


@contextmanager
def _site(kind: str, folder: Path, service: Service) -> Iterator[Site]:
    ports = (free_port(), free_port())
    upstream = service.url.removeprefix("http://")
    write = {"nginx": nginx, "caddy": caddy}[kind]
    command, environment = write(folder, {ports[0]: (upstream, True), ports[1]: (upstream, False)})
    url, bare = (f"http://127.0.0.1:{port}{PATH}" for port in ports)
    with running(command, environment, folder / f"{kind}.log", url):
        yield Site(url, bare, service)


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def site(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with _site(request.param, tmp_path_factory.mktemp(request.param), service) as made:
        yield made


def test_a_proxy_that_is_missing_fails_these_tests() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"nothing-like-it is not on this machine; .* apt-get install it"):
        program("nothing-like-it", "it")


def _submitted(url: str, path: str = "/v1/images/jobs", **fields: Any) -> httpx2.Response:
    answer = httpx2.post(f"{url}{path}", json={**LONG, **fields}, headers={"Prefer": "respond-async"}, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer


@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/v3/images/jobs", "/api/v1/images/generations", "/openai/v1/images/generations"]
)
def test_every_address_in_an_answer_can_be_fetched_below_the_path(site: Site, path: str) -> None:
    answer = _submitted(site.url, path, **SHORT)
    job = answer.json()
    assert answer.headers["location"] == job["urls"]["self"]
    assert job["urls"]["self"].startswith(f"{site.url}/v")
    wait_until(lambda: httpx2.get(job["urls"]["self"]).json()["status"] == "completed")
    urls = httpx2.get(job["urls"]["self"]).json()["urls"]
    for address in (urls["result"], *urls["content"], urls["events"]):
        assert httpx2.get(address).status_code == 200, address
    assert httpx2.post(urls["cancel"]).status_code == 200


def test_the_url_of_an_image_can_be_fetched_below_the_path(site: Site) -> None:
    body = {**SHORT, "response_format": "url"}
    for path in ("/v1/images/generations", "/openai/deployments/demo/images/generations"):
        url = httpx2.post(f"{site.url}{path}", json=body, timeout=60).json()["data"][0]["url"]
        assert url.startswith(f"{site.url}/v1/images/files/")
        assert httpx2.get(url).content.startswith(b"\x89PNG")


def test_without_the_header_and_a_public_url_the_links_lack_the_path(site: Site) -> None:
    """So a proxy needs one of the two; the host and the port are right all the same."""
    job = _submitted(site.bare, **SHORT).json()
    assert job["urls"]["self"].startswith(f"{site.bare.removesuffix(PATH)}/v1/images/jobs/")


def test_the_documentation_pages_find_their_files(site: Site) -> None:
    page = httpx2.get(f"{site.url}/", follow_redirects=True)
    assert str(page.url) == f"{site.url}/docs"
    root = site.url.removesuffix(PATH)
    files = re.findall(r"""["'](/[\w./-]+\.(?:js|css|png|json))["']""", page.text)
    assert f"{PATH}/openapi.json" in files and len(files) >= 4
    assert [httpx2.get(f"{root}{file}").status_code for file in files] == [200] * len(files)
    assert httpx2.get(f"{site.url}/openapi.json").json()["servers"] == [{"url": PATH}]


def test_events_come_one_by_one(site: Site) -> None:
    """The first steps of a job are here while the service itself still says that it is drawn."""
    job = _submitted(site.url).json()
    with httpx2.stream("GET", job["urls"]["events"], timeout=60) as stream:
        events = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: "))
        steps = (event["step"] for event in events if event.get("step"))
        assert 0 < next(steps) < next(steps) < LONG["num_inference_steps"]
        assert site.status_of(job["id"]) == "in_progress"
    httpx2.post(job["urls"]["cancel"])


def test_white_space_comes_before_the_answer(site: Site) -> None:
    headers = {"Prefer": "white-space=1"}
    with httpx2.stream("POST", f"{site.url}/v1/images/generations", json=LONG, headers=headers, timeout=60) as answer:
        assert next(answer.iter_raw()) == b" "
        assert site.status_of(answer.headers["x-imagegen-job-id"]) == "in_progress"
    wait_until(lambda: site.status_of(answer.headers["x-imagegen-job-id"]) == "cancelled")


@pytest.mark.parametrize("body", [LONG, {**LONG, "stream": True}], ids=["blocking", "stream"])
def test_a_client_that_leaves_cancels_its_job(site: Site, body: dict[str, Any]) -> None:
    host, port = site.url.removeprefix("http://").removesuffix(PATH).split(":")
    content = json.dumps({**body, "metadata": {"leaves": "yes"}}).encode()
    head = f"POST {PATH}/v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        wait_until(lambda: _newest(site)["status"] == "in_progress")
        job = _newest(site)
    assert job["metadata"] == {"leaves": "yes"}
    wait_until(lambda: site.status_of(job["id"]) == "cancelled")


def _newest(site: Site) -> dict[str, Any]:
    jobs = site.service.http.get("/v1/images/jobs", params={"limit": 1, "order": "desc"}).json()["data"]
    return dict(jobs[0])


def test_an_image_of_20_megabytes_passes(site: Site) -> None:
    noise = Image.frombytes("RGB", (BIG_SIDE_PX, BIG_SIDE_PX), os.urandom(BIG_SIDE_PX**2 * 3))
    image = image_bytes(noise, compress_level=0)
    assert len(image) > 20_000_000
    data = {key: str(value) for key, value in {**SHORT, "num_inference_steps": 2}.items()}
    answer = httpx2.post(f"{site.url}/v1/images/edits", files={"image": image}, data=data, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "64x64"


def test_a_client_is_not_believed_about_the_path_where_the_proxy_sets_it(site: Site) -> None:
    answer = httpx2.post(
        f"{site.url}/v1/images/jobs", json=SHORT, headers={"X-Forwarded-Prefix": "/elsewhere"}, timeout=60
    )
    assert answer.headers["location"].startswith(f"{site.url}/v1/")


@pytest.fixture(scope="module")
def public(model: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another API of the same service, with --public_url, behind an nginx that tells no path."""
    folder = tmp_path_factory.mktemp("public")
    port, api_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}{PATH}"
    redis_url = prepared_url(service.log.parent / "data")
    assert redis_url is not None
    options = ("--public_url", url, "--rest_port", str(api_port), "--model_path", str(model))
    api = Process("api", *options, log=folder / "api.log", REDIS_URL=redis_url)
    command, environment = nginx(folder, {port: (f"127.0.0.1:{api_port}", False)})
    try:
        with running(command, environment, folder / "nginx.log", url):
            yield url
    finally:
        api.send()
        assert api.code() == 0


def test_with_a_public_url_the_openai_client_draws_and_edits_below_the_path(public: str) -> None:
    client = OpenAI(base_url=f"{public}/v1", api_key="unused", max_retries=0)
    asked: dict[str, Any] = {"prompt": "a red circle on a blue background", "extra_body": {"seed": 7}}
    linked = client.images.generate(**asked, response_format="url").data
    embedded = client.images.generate(**asked).data
    assert linked is not None and linked[0].url is not None and embedded is not None
    assert linked[0].url.startswith(f"{public}/v1/images/files/")
    drawn = httpx2.get(linked[0].url).content
    assert drawn == base64.b64decode(embedded[0].b64_json or "")
    mask = image_bytes(red_image("L", (64, 64)))
    edited = client.images.edit(image=io.BytesIO(drawn), mask=io.BytesIO(mask), **asked, response_format="url").data
    assert edited is not None and edited[0].url is not None
    assert httpx2.get(edited[0].url).content.startswith(b"\x89PNG")
    location = _submitted(public, **SHORT).headers["location"]
    assert location.startswith(f"{public}/v1/images/jobs/")
    assert httpx2.get(location).status_code == 200
