"""Adapters from URLs and paths, with a real server on this machine."""

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from config.settings import DownloadSettings
from graphs.adapters.sources import parse_source_loras
from graphs.errors import ConfigurationError
from tests.workers.sources.sources_support import (
    TLS_CERTIFICATE,
    TLS_NAME,
    FileServer,
    Page,
    adapter_bytes,
    file_server,
)
from workers.net import public_address
from workers.net.public_address import is_public
from workers.sources.fetch import fetch
from workers.sources.partial_file import PartialFile
from workers.sources.web import Remote, download

BODY = adapter_bytes()
HERE = DownloadSettings(allow_http=True, allow_private=True, timeout_s=5)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.pages["/a.safetensors"] = Page(BODY)
        yield running


def get(url: str, folder: Path, settings: DownloadSettings = HERE, seen: list[Any] | None = None) -> Path:
    (source,) = parse_source_loras(f"style={url}").adapters
    return fetch(source, folder, settings, lambda done, total: seen.append((done, total)) if seen is not None else None)


def refusal(url: str, folder: Path, settings: DownloadSettings = HERE) -> str:
    with pytest.raises(ConfigurationError) as refused:
        get(url, folder, settings)
    sentence = str(refused.value)
    assert sentence.startswith("adapter 'style': ")
    assert sentence.endswith((".", ").")) and "\n" not in sentence
    assert not (folder / "loras" / "style" / "a.safetensors").exists()
    return sentence


def test_another_address_with_the_same_alias_and_name_is_another_file(server: FileServer, tmp_path: Path) -> None:
    server.pages["/other/a.safetensors"] = Page(adapter_bytes(fill=b"y"))
    first, second = get(f"{server.url}/a.safetensors", tmp_path), get(f"{server.url}/other/a.safetensors", tmp_path)
    assert first != second
    assert (first.read_bytes(), second.read_bytes()) == (BODY, adapter_bytes(fill=b"y"))
    assert get(f"{server.url}/a.safetensors", tmp_path) == first
    assert get(f"{server.url}/other/a.safetensors", tmp_path) == second
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"], ids=["headers", "body"]
)
def test_a_download_that_drips_is_given_up(tmp_path: Path, start: bytes) -> None:
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with closing(connection), suppress(OSError):
                connection.sendall(start)
                while not over.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.safetensors"
        sentence = refusal(url, tmp_path, HERE.model_copy(update={"total_timeout_s": 0.3}))
        over.set()
        thread.join(10)
    assert "took longer than 0.3 s (IMAGEGEN_DOWNLOADS__TOTAL_TIMEOUT_S)" in sentence


def test_a_file_is_downloaded_once_with_progress(server: FileServer, tmp_path: Path) -> None:
    seen: list[Any] = []
    file = get(f"{server.url}/a.safetensors", tmp_path, seen=seen)
    assert file == tmp_path / "loras" / "style" / "a.safetensors"
    assert file.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert get(f"{server.url}/a.safetensors", tmp_path) == file
    assert len(server.requests) == 1
    assert [path.name for path in file.parent.iterdir()] == ["a.safetensors"]
    headers = server.requests[0][2]
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers


def test_a_name_is_percent_decoded(server: FileServer, tmp_path: Path) -> None:
    server.pages["/Ukiyo-e%20Art.safetensors"] = Page(BODY)
    assert get(f"{server.url}/Ukiyo-e%20Art.safetensors", tmp_path).name == "Ukiyo-e Art.safetensors"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("Ukiyo-e%20Art.safetensors", "/Ukiyo-e%20Art.safetensors"),
        ("Ukiyo-e Art.safetensors", "/Ukiyo-e%20Art.safetensors"),
        ("a%20b c.safetensors:0.8", "/a%20b%20c.safetensors"),
        ("a%2Cb,c.safetensors", "/a%2Cb,c.safetensors"),
        ("100%.safetensors", "/100%25.safetensors"),
        ("é@+.safetensors", "/%C3%A9@+.safetensors"),
    ],
)
def test_every_url_is_asked_for_once_encoded(written: str, asked: str, server: FileServer, tmp_path: Path) -> None:
    server.pages[asked] = Page(BODY)
    assert get(f"{server.url}/{written}", tmp_path).name == unquote(asked[1:])


def test_a_query_is_sent_and_has_a_file_of_its_own(server: FileServer, tmp_path: Path) -> None:
    queries = ["", "download=true", "id=a%20b&x=%2F", "id=2:0.8"]
    files = [get(f"{server.url}/a.safetensors{'?' if query else ''}{query}", tmp_path) for query in queries]
    assert server.queries == ["", "download=true", "id=a%20b&x=%2F", "id=2"]
    assert len(set(files)) == 4 and {file.name for file in files} == {"a.safetensors"}
    get(f"{server.url}/a.safetensors?id=2", tmp_path)
    assert len(server.requests) == 4


def test_a_url_of_an_ipv6_address(tmp_path: Path) -> None:
    with file_server("::1") as server:
        server.pages["/a.safetensors"] = Page(BODY)
        assert get(f"http://[::1]:{server.port}/a.safetensors:0.8", tmp_path).read_bytes() == BODY


def test_a_web_page_is_not_the_file(server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(b"<html>", headers={"Content-Type": "Text/HTML; charset=utf-8"})
    assert "sends a web page in place of the file, perhaps to log in." in refusal(
        f"{server.url}/a.safetensors", tmp_path
    )


def test_a_file_address_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a, b=c 100%.safetensors"
    path.write_bytes(BODY)
    assert get(path.as_uri(), tmp_path / "model") == path
    assert get(f"file://localhost{quote(str(path))}:0.5", tmp_path / "model") == path
    assert f"there is no file {tmp_path}/x y.safetensors" in refusal(f"file://{tmp_path}/x%20y.safetensors", tmp_path)


def test_an_answer_without_a_length(server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(BODY, length=False)
    seen: list[Any] = []
    assert get(f"{server.url}/a.safetensors", tmp_path, seen=seen).read_bytes() == BODY
    assert seen[-1] == (len(BODY), None)


def test_http_is_refused_by_default(server: FileServer, tmp_path: Path) -> None:
    settings = DownloadSettings(allow_private=True)
    assert "ALLOW_HTTP" in refusal(f"{server.url}/a.safetensors", tmp_path, settings)
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
def test_a_private_address_is_refused_by_default(host: str, server: FileServer, tmp_path: Path) -> None:
    settings = DownloadSettings(allow_http=True)
    sentence = refusal(f"http://{host}:{server.port}/a.safetensors", tmp_path, settings)
    assert "ALLOW_PRIVATE" in sentence
    assert server.requests == []


def resolve_names(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> list[str]:
    """Resolve names to these addresses in order, then always to the last one; return the list of resolved names."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        address = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def as_if_public(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Treat one address of this machine as public."""
    monkeypatch.setattr(public_address, "is_public", lambda text: text == address or is_public(text))


def test_the_checked_address_is_the_one_connected_to(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_public(monkeypatch, "127.0.0.1")
    # The name resolves to another address the second time (DNS rebinding).
    asked = resolve_names(monkeypatch, {"adapters.example": ["127.0.0.1", "127.0.0.2"]})
    settings = DownloadSettings(allow_http=True)
    get(f"http://adapters.example:{server.port}/a.safetensors", tmp_path, settings)
    assert asked == ["adapters.example"]
    assert server.requests[0][2]["host"] == f"adapters.example:{server.port}"


def test_the_certificate_is_checked_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cadata=TLS_CERTIFICATE)
    monkeypatch.setattr("workers.sources.web.httpx2.create_ssl_context", lambda: context)
    resolve_names(monkeypatch, {TLS_NAME: ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    settings = DownloadSettings(allow_private=True)
    with file_server(tls_folder=tmp_path) as server:
        server.pages["/a.safetensors"] = Page(BODY)
        sentence = refusal(f"https://other.example:{server.port}/a.safetensors", tmp_path, settings)
        assert "other.example" in sentence and "certificate" in sentence
        assert server.requests == []
        get(f"https://{TLS_NAME}:{server.port}/a.safetensors", tmp_path, settings)
        assert server.requests[0][2]["host"] == f"{TLS_NAME}:{server.port}"


def test_a_redirect_to_a_private_address_is_refused(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_public(monkeypatch, "127.0.0.1")
    resolve_names(monkeypatch, {"inside.example": ["127.0.0.2"]})
    server.pages["/a.safetensors"] = Page(
        status=302, headers={"Location": f"http://inside.example:{server.port}/b.safetensors"}
    )
    sentence = refusal(f"{server.url}/a.safetensors", tmp_path, DownloadSettings(allow_http=True))
    assert "inside.example" in sentence and "127.0.0.2" in sentence
    assert server.paths() == ["/a.safetensors"]


def test_a_redirect_to_plain_http_is_refused(server: FileServer, tmp_path: Path) -> None:
    # The operator trusts the first server, which may use plain HTTP; the second server may not.
    server.pages["/a.safetensors"] = Page(status=307, headers={"Location": "http://localhost:9/b.safetensors"})
    url = f"{server.url}/a.safetensors"
    with pytest.raises(ConfigurationError, match="localhost is plain HTTP"):
        download(Remote(url, trusted=url), PartialFile(tmp_path / "a"), DownloadSettings(), lambda *_: None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_at_most_five_redirects_are_followed(status: int, server: FileServer, tmp_path: Path) -> None:
    for hop in range(6):
        server.pages[f"/{hop}.safetensors"] = Page(status=status, headers={"Location": f"/{hop + 1}.safetensors"})
    server.pages["/6.safetensors"] = Page(BODY)
    assert get(f"{server.url}/1.safetensors", tmp_path).read_bytes() == BODY
    assert "redirects more than 5 times" in refusal(f"{server.url}/0.safetensors", tmp_path)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/a", "http://[/", "http:///a", "file:///etc/passwd"])
def test_a_redirect_to_nowhere(location: str, server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(status=302, headers={"Location": location})
    assert "adapter 'style'" in refusal(f"{server.url}/a.safetensors", tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("length", [True, False])
def test_the_size_limit(length: bool, server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(BODY, length=length)
    limit = HERE.model_copy(update={"max_bytes": len(BODY) - 1})
    assert f"limit of {len(BODY) - 1} bytes" in refusal(f"{server.url}/a.safetensors", tmp_path, limit)
    assert list((tmp_path / "loras" / "style").iterdir()) == []
    exact = HERE.model_copy(update={"max_bytes": len(BODY)})
    assert get(f"{server.url}/a.safetensors", tmp_path, exact).read_bytes() == BODY


def test_an_interrupted_download_is_resumed_at_once(server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(BODY, cut=1000)
    assert get(f"{server.url}/a.safetensors", tmp_path).read_bytes() == BODY
    asked = [headers.get("range") for _, _, headers in server.requests]
    assert asked == [None, "bytes=1000-", "bytes=2000-"]


def interrupt(_done: int, _total: int | None) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_download_is_resumed_by_the_next_run(server: FileServer, tmp_path: Path) -> None:
    page = server.pages["/a.safetensors"] = Page(BODY, cut=1234, cuts=1)
    url = f"{server.url}/a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        (source,) = parse_source_loras(f"style={url}").adapters
        fetch(source, tmp_path, HERE, interrupt)
    assert not (tmp_path / "loras" / "style" / "a.safetensors").exists()
    server.requests.clear()
    seen: list[Any] = []
    assert get(url, tmp_path, seen=seen).read_bytes() == BODY
    assert server.requests[0][2]["range"] == "bytes=1234-"
    assert server.requests[0][2]["if-range"] == page.etag
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("stale", "page"),
    [
        (b"old" * 100, Page(BODY, etag='"v2"')),  # the server has another version now
        (b"old" * 100, Page(BODY, ranges=False)),  # the server ignores ranges
        (b"old" * 5000, Page(BODY)),  # the partial file is larger than the file
        (BODY, Page(BODY)),  # the partial file is complete
    ],
)
def test_a_partial_file_of_an_earlier_download(stale: bytes, page: Page, server: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / "loras" / "style"
    folder.mkdir(parents=True)
    (folder / "a.safetensors.part").write_bytes(stale)
    (folder / "a.safetensors.part.etag").write_text('"v1"')
    server.pages["/a.safetensors"] = page
    assert get(f"{server.url}/a.safetensors", tmp_path).read_bytes() == BODY
    assert [path.name for path in folder.iterdir()] == ["a.safetensors"]


def test_an_interrupted_download_that_cannot_be_resumed(server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(BODY, cut=1000, ranges=False)
    sentence = refusal(f"{server.url}/a.safetensors", tmp_path)
    assert "broke off" in sentence and "received 1000 bytes" in sentence


@pytest.mark.parametrize(
    ("status", "part"), [(404, "has no such file (status 404)"), (403, "does not allow"), (500, "(status 500)")]
)
def test_an_error_status_of_the_server(status: int, part: str, server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(status=status)
    assert part in refusal(f"{server.url}/a.safetensors", tmp_path)


@pytest.mark.parametrize("body", [b"", b"<!doctype html><html>please log in</html>", BODY[:8], b"\xff" * 100])
def test_a_file_that_is_no_adapter_is_not_kept(body: bytes, server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(body)
    assert "does not begin as a safetensors file" in refusal(f"{server.url}/a.safetensors", tmp_path)
    assert list((tmp_path / "loras" / "style").iterdir()) == []


def test_a_compressed_body_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.pages["/a.safetensors"] = Page(BODY, headers={"Content-Encoding": "gzip"})
    assert "compressed" in refusal(f"{server.url}/a.safetensors", tmp_path)


def test_a_port_without_a_server(tmp_path: Path) -> None:
    assert "127.0.0.1 cannot be reached" in refusal("http://127.0.0.1:1/a.safetensors", tmp_path)


def test_a_name_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "nowhere.invalid cannot be found" in refusal("https://nowhere.invalid/a.safetensors", tmp_path)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = HERE.model_copy(update={"timeout_s": 0.2})
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.safetensors"
        assert "does not answer in time" in refusal(url, tmp_path, settings)


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "loras").write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match="cannot be written below"):
        get(f"{server.url}/a.safetensors", tmp_path)


def test_a_local_file_is_used_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my style.safetensors").write_bytes(BODY)
    model = tmp_path / "model"
    assert get("./my style.safetensors:0.5", model) == tmp_path / "my style.safetensors"
    assert get(f"{tmp_path}/my style.safetensors", model) == tmp_path / "my style.safetensors"
    assert not model.exists()


def test_a_path_of_windows(tmp_path: Path) -> None:
    assert "such.safetensors is a path of Windows, and" in refusal("C:\\models\\such.safetensors", tmp_path)


@pytest.mark.parametrize("path", ["/no/such.safetensors", "./such.safetensors"])
def test_a_local_file_that_does_not_exist(path: str, tmp_path: Path) -> None:
    assert f"there is no file {os.path.abspath(path)}" in refusal(path, tmp_path)
