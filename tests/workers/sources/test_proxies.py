"""Through which proxies adapters come: the operator's through those of the environment, a client's through none."""

import http.client
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
from tests.workers.sources.sources_support import FileServer, Page, adapter_bytes, file_server
from workers.sources.fetch import fetch

CLIENTS = DownloadSettings(timeout_s=5)
OPERATORS = CLIENTS.for_operator()


class _Proxy(BaseHTTPRequestHandler):
    """Forwards plain requests, opens no tunnel, and records what it was asked for."""

    def do_GET(self) -> None:
        self._record(self.path)
        url = urlsplit(self.path)
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=5)
        connection.request("GET", url.path)
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
def _running_proxy() -> Iterator[tuple[str, list[str]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a proxy was asked for that the environment names."""
    with _running_proxy() as (url, asked):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield asked


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.pages["/a.safetensors"] = Page(adapter_bytes())
        yield running


def _fetched(url: str, folder: Path, settings: DownloadSettings) -> Path:
    return fetch(LoraSource("a", "url", url), folder, settings, lambda _done, _total: None)


def test_an_operators_download_may_be_plain_http_and_private(server: FileServer, tmp_path: Path) -> None:
    assert _fetched(f"{server.url}/a.safetensors", tmp_path, OPERATORS).read_bytes() == adapter_bytes()


def test_an_operators_download_goes_through_the_proxy_of_the_environment(
    server: FileServer, asked: list[str], tmp_path: Path
) -> None:
    url = f"{server.url}/a.safetensors"
    assert _fetched(url, tmp_path, OPERATORS).read_bytes() == adapter_bytes()
    assert asked == [url]
    with pytest.raises(ConfigurationError, match=r"^adapter 'a': adapters\.example "):
        _fetched("https://adapters.example/a.safetensors", tmp_path, OPERATORS)
    assert asked[1:] == ["adapters.example:443"]


def test_no_proxy_is_heeded(
    server: FileServer, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert _fetched(f"{server.url}/a.safetensors", tmp_path, OPERATORS).read_bytes() == adapter_bytes()
    assert asked == []


def test_a_clients_download_uses_no_proxy(server: FileServer, asked: list[str], tmp_path: Path) -> None:
    allowed = DownloadSettings(timeout_s=5, allow_http=True, allow_private=True)
    assert _fetched(f"{server.url}/a.safetensors", tmp_path, allowed).read_bytes() == adapter_bytes()
    for url, refusal in (
        (f"{server.url}/b.safetensors", "is plain HTTP"),
        (f"https://127.0.0.1:{server.port}/b.safetensors", "which is a private address"),
    ):
        with pytest.raises(ConfigurationError, match=refusal):
            _fetched(url, tmp_path, CLIENTS)
    assert asked == []
