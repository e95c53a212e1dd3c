"""Through which proxies adapters come: the operator's through those of the environment, a client's by a setting."""

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.settings import DownloadSettings
from graphs.adapters.lora_source import LoraSource
from graphs.errors import ConfigurationError
from tests.support.socks_proxy import socks_proxy
from tests.workers.sources.sources_support import FileServer, Page, adapter_bytes, file_server
from workers.sources.fetch import fetch

CLIENTS = DownloadSettings(timeout_s=5)
OPERATORS = CLIENTS.for_operator()


NAMED = "http://adapters.example/a.safetensors"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class _Proxy(BaseHTTPRequestHandler):
    """Knows one server for all names, opens no tunnel, and records what it was asked for."""

    def do_GET(self) -> None:
        self._record(self.path)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=5)  # type: ignore[attr-defined]
        connection.request("GET", urlsplit(self.path).path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self._record(self.path)
        self.send_error(502)

    def _record(self, asked: str) -> None:
        self.server.asked.append(asked)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def _running_proxy(behind: int) -> Iterator[tuple[str, list[str]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        server.asked = []  # type: ignore[attr-defined]
        server.behind = behind  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.pages["/a.safetensors"] = Page(adapter_bytes())
        yield running


@pytest.fixture
def asked(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a proxy was asked for that the environment names, with a password."""
    with _running_proxy(server.port) as (url, asked):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, url.replace("//", "//user:secret@"))
        yield asked


def _fetched(url: str, folder: Path, settings: DownloadSettings) -> Path:
    return fetch(LoraSource("a", "url", url), folder, settings, lambda _done, _total: None)


def test_an_operators_download_may_be_plain_http_and_private(server: FileServer, tmp_path: Path) -> None:
    assert _fetched(f"{server.url}/a.safetensors", tmp_path, OPERATORS).read_bytes() == adapter_bytes()


def test_an_operators_download_goes_through_the_proxy_of_the_environment(asked: list[str], tmp_path: Path) -> None:
    assert _fetched(NAMED, tmp_path, OPERATORS).read_bytes() == adapter_bytes()
    assert asked == [NAMED]
    with pytest.raises(ConfigurationError, match=r"adapters\.example .*, through the proxy http://127\.0\.0\.1:\d+\)"):
        _fetched("https://adapters.example/a.safetensors", tmp_path, OPERATORS)
    assert asked[1:] == ["adapters.example:443"]


def test_all_proxy_counts_where_no_other_does(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", os.environ["HTTP_PROXY"].removeprefix("http://"))
    monkeypatch.delenv("HTTP_PROXY")
    assert _fetched(NAMED, tmp_path, OPERATORS).read_bytes() == adapter_bytes()
    assert asked == [NAMED]


def test_a_proxy_that_speaks_socks(
    server: FileServer, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy(server.port) as (url, connected):
        monkeypatch.setenv("HTTP_PROXY", url)
        assert _fetched(NAMED, tmp_path, OPERATORS).read_bytes() == adapter_bytes()
    assert (connected, asked) == (["adapters.example:80"], [])


@pytest.mark.parametrize("proxy", ["ftp://proxy.example:21", "socks4://proxy.example", "http://"])
def test_a_proxy_that_cannot_be_used_is_named(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=rf"HTTP_PROXY={proxy} is no proxy that can be used"):
        _fetched(NAMED, tmp_path, OPERATORS)


def test_no_proxy_is_heeded(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "[::1],.example")
    with pytest.raises(ConfigurationError, match=r"adapters\.example cannot be reached"):
        _fetched(NAMED, tmp_path, OPERATORS)
    assert asked == []


def test_this_machine_is_reached_without_a_proxy(server: FileServer, asked: list[str], tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{server.port}/a.safetensors"
        assert _fetched(url, tmp_path / host, OPERATORS).read_bytes() == adapter_bytes()
    assert asked == []


def test_a_clients_download_uses_no_proxy(server: FileServer, asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"adapters\.example cannot be found"):
        _fetched(NAMED, tmp_path, DownloadSettings(timeout_s=5, allow_http=True))
    assert asked == []


def test_a_clients_download_uses_one_where_a_setting_says_so(asked: list[str], tmp_path: Path) -> None:
    settings = DownloadSettings(timeout_s=5, allow_http=True, use_proxy=True)
    assert _fetched(NAMED, tmp_path, settings).read_bytes() == adapter_bytes()
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.1, which is a private address"):
        _fetched("http://10.0.0.1/a.safetensors", tmp_path, settings)
    assert asked == [NAMED]
