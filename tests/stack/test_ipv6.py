"""A service on ``::`` with a Redis on ``::1``: clients of IPv6 and of IPv4, commands, links, what is printed."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from openai import OpenAI

from cli.checks.finding import Verdict
from cli.checks.machine_check import check_port
from config.http_settings import HttpSettings
from tests.cli.cli_support import ROOT, imagegen
from tests.support.images import pixels
from tests.support.ports import free_port
from tests.support.redis_server import running_redis
from tests.support.service import Service, serving

pytestmark = pytest.mark.usefixtures("processes")
URL_REQUEST = {"prompt": "a star", "response_format": "url", "n": 1}


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    options = ("--bind", "::1", "--port", str(port))
    with running_redis(tmp_path_factory.mktemp("redis"), options=options) as running:
        password = urlsplit(running.settings.url or "").password
        yield f"redis://:{password}@[::1]:{port}/0"


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    more = {"IMAGEGEN_WORKER__ENGINE": "simulated", "IMAGEGEN_WORKER__SIMULATED_STEP_S": "0", "REDIS_URL": redis_url}
    environment = {**os.environ, **more, "PYTHONPATH": str(ROOT)}
    with serving(tmp_path_factory.mktemp("s"), "--rest_bind_address", "::", environment=environment) as started:
        yield started


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    return service.url.replace("127.0.0.1", "[::1]")


def test_the_stock_client(url: str) -> None:
    client = OpenAI(base_url=f"{url}/v3", api_key="unused", max_retries=0)
    (image,) = client.images.generate(prompt="a star").data or []
    assert pixels(base64.b64decode(image.b64_json or "")).shape == (128, 128, 3)
    (linked,) = client.images.generate(prompt="a star", response_format="url").data or []
    assert linked.url is not None and linked.url.startswith(f"{url}/v3/images/files/")
    assert httpx2.get(linked.url).headers["content-type"] == "image/png"


def test_a_page_of_this_server_is_known_by_its_address(url: str) -> None:
    def status(origin: str) -> int:
        return httpx2.post(f"{url}/v3/images/generations", json={"prompt": "x"}, headers={"Origin": origin}).status_code

    assert (status(url), status("http://[::2]:8000")) == (200, 403)


def test_a_proxy_of_this_machine_is_believed_over_ipv4_too(service: Service, url: str) -> None:
    """A socket of both versions shows 127.0.0.1 as ::ffff:127.0.0.1."""
    for address in (service.url, url):
        answer = httpx2.post(
            f"{address}/v3/images/generations", json=URL_REQUEST, headers={"X-Forwarded-Proto": "https"}
        )
        assert answer.json()["data"][0]["url"].startswith(address.replace("http:", "https:"))


def test_the_commands(url: str, tmp_path: Path) -> None:
    drawn = imagegen("generate", "a star", "-o", str(tmp_path / "a.png"), "--url", url)
    assert (drawn.returncode, (tmp_path / "a.png").exists()) == (0, True), drawn.stderr
    listed = imagegen("jobs", "list", IMAGEGEN_URL=f"{url}/v3")
    assert (listed.returncode, "a star" in listed.stdout) == (0, True), listed.stderr
    checked = check_port(HttpSettings(rest_bind_address="::", rest_port=int(url.rpartition(":")[2])))
    assert (checked.verdict, checked.message) == (Verdict.OK, f"It answers at {url}.")


def test_what_is_printed(service: Service, url: str) -> None:
    log = service.log.read_text()
    assert f"listening on {url.replace('::1', '::')} (IPv4 too)" in log
    assert f"imagegen is ready: {url}/v3" in log
    assert "The API listens on :: and needs no key" in log
    assert f"curl -s '{url}/v3/images/generations'" in log and f"--url '{url}'" in log
