"""Downloads of Civitai's API, whose file name comes with the answer, and its token."""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from config.environment import load_settings
from config.settings import DownloadSettings
from graphs.adapters.sources import parse_source_loras
from graphs.errors import ConfigurationError
from tests.workers.sources.sources_support import FileServer, Page, adapter_bytes, file_server
from workers.sources.fetch import fetch
from workers.sources.given_name import given_name

BODY = adapter_bytes()
PATH = "/api/download/models/12345"
SECRET = "civitai-token-hush"


@pytest.fixture
def civitai() -> Iterator[FileServer]:
    with file_server() as running:
        running.pages[PATH] = Page(BODY, headers=named("ink style.safetensors"))
        yield running


def named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def settings_for(server: FileServer, **more: object) -> DownloadSettings:
    return DownloadSettings.model_validate({"civitai_endpoint": server.url, "timeout_s": 5, **more})


def get(address: str, folder: Path, settings: DownloadSettings) -> Path:
    (source,) = parse_source_loras(f"ink={address}").adapters
    return fetch(source, folder, settings, lambda *_: None)


def refusal(address: str, folder: Path, settings: DownloadSettings) -> str:
    with pytest.raises(ConfigurationError) as refused:
        get(address, folder, settings)
    sentence = str(refused.value)
    assert sentence.startswith("adapter 'ink': ") and sentence.endswith(".") and SECRET not in sentence
    assert not list(folder.rglob("*.safetensors"))
    return sentence


@pytest.mark.parametrize("more", ["", "/", ":0.8"])
def test_the_name_comes_with_the_answer_and_the_file_once(more: str, civitai: FileServer, tmp_path: Path) -> None:
    civitai.pages[f"{PATH}/"] = civitai.pages[PATH]
    for _ in range(2):
        file = get(f"{civitai.url}{PATH}{more}", tmp_path, settings_for(civitai))
    assert file == tmp_path / "loras" / "ink" / "12345" / "ink style.safetensors"
    assert file.read_bytes() == BODY
    assert len(civitai.requests) == 1
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_each_version_and_each_query_has_its_own_file(civitai: FileServer, tmp_path: Path) -> None:
    civitai.pages["/api/download/models/6"] = Page(adapter_bytes(2000), headers=named("ink style.safetensors"))
    settings = settings_for(civitai)
    queries = ("", "?type=Model&format=SafeTensor", "?type=Model&format=SafeTensor&size=pruned")
    files = {get(f"{civitai.url}{PATH}{query}", tmp_path, settings) for query in queries}
    files.add(get(f"{civitai.url}/models/9/ink?modelVersionId=6", tmp_path, settings))
    assert len(files) == 4 and {file.name for file in files} == {"ink style.safetensors"}
    assert civitai.queries == ["", *(query[1:] for query in queries[1:]), ""]


def test_the_token_goes_to_civitai_and_nowhere_else(
    civitai: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with file_server() as storage, caplog.at_level(logging.DEBUG):
        storage.pages["/blob"] = Page(BODY, headers=named("stored.safetensors"), cut=1000)
        civitai.pages[PATH] = Page(status=307, headers={"Location": f"{storage.url}/blob?signature=1"}, ranges=False)
        settings = settings_for(civitai, civitai_token=SECRET)
        assert "plain HTTP" in refusal(f"{civitai.url}{PATH}", tmp_path, settings)
        settings = settings_for(civitai, civitai_token=SECRET, allow_http=True)
        assert "ALLOW_PRIVATE" in refusal(f"{civitai.url}{PATH}", tmp_path, settings)
        settings = settings_for(civitai, civitai_token=SECRET, allow_http=True, allow_private=True)
        file = get(f"{civitai.url}{PATH}", tmp_path, settings)
        assert (file.name, file.read_bytes()) == ("stored.safetensors", BODY)
        assert {headers.get("authorization") for _, _, headers in storage.requests} == {None}
        assert [headers.get("range") for _, _, headers in storage.requests] == [None, "bytes=1000-", "bytes=2000-"]
        # A server that is not Civitai's gets no token, though its address looks the same.
        storage.pages[PATH] = Page(BODY)
        get(f"{storage.url}{PATH}", tmp_path / "other", settings)
        assert storage.requests[-1][2].get("authorization") is None
    assert {headers.get("authorization") for _, _, headers in civitai.requests} == {f"Bearer {SECRET}"}
    assert SECRET not in caplog.text
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_of_several_servers_each_is_trusted(civitai: FileServer, tmp_path: Path) -> None:
    endpoints = f"https://civitai.com {civitai.url}"
    settings = settings_for(civitai, civitai_endpoint=endpoints, civitai_token=SECRET)
    assert get(f"{civitai.url}{PATH}", tmp_path, settings).read_bytes() == BODY
    assert civitai.requests[0][2]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_download_that_needs_a_token_says_so(status: int, civitai: FileServer, tmp_path: Path) -> None:
    civitai.pages[PATH] = Page(b'{"error":"Unauthorized"}', status)
    address = f"{civitai.url}{PATH}"
    assert f"(status {status}); set CIVITAI_TOKEN" in refusal(address, tmp_path, settings_for(civitai))
    sentence = refusal(address, tmp_path, settings_for(civitai, civitai_token=SECRET))
    assert "the token of CIVITAI_TOKEN is not accepted" in sentence


def test_a_login_page_in_place_of_the_file_says_so(civitai: FileServer, tmp_path: Path) -> None:
    civitai.pages[PATH] = Page(status=307, headers={"Location": "/login?reason=download-auth"})
    civitai.pages["/login"] = Page(b"<!doctype html>", headers={"Content-Type": "text/html; charset=utf-8"})
    sentence = refusal(f"{civitai.url}{PATH}", tmp_path, settings_for(civitai))
    assert "sends a web page in place of the file" in sentence and "set CIVITAI_TOKEN" in sentence


def test_a_file_of_another_kind_is_refused(civitai: FileServer, tmp_path: Path) -> None:
    civitai.pages[PATH] = Page(BODY, headers=named("images.zip"))
    sentence = refusal(f"{civitai.url}{PATH}", tmp_path, settings_for(civitai))
    assert "'images.zip'" in sentence and "format=SafeTensor" in sentence
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_usable_name_it_is_the_version(civitai: FileServer, tmp_path: Path) -> None:
    for number, header in enumerate(("attachment", 'attachment; filename=".."', f"x; filename={'y' * 300}")):
        civitai.pages[PATH] = Page(BODY, headers={"Content-Disposition": header})
        file = get(f"{civitai.url}{PATH}", tmp_path / str(number), settings_for(civitai))
        assert file.name == "12345.safetensors"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="My style, v1; x.safetensors"', "My style, v1; x.safetensors"),
        ("attachment; filename=plain.safetensors", "plain.safetensors"),
        (f"attachment; filename=\"a.safetensors\"; filename*=UTF-8''{quote('€ x')}.safetensors", "€ x.safetensors"),
        (f"attachment; filename*=UTF-8''{quote('€ x')}.safetensors; filename=\"a.safetensors\"", "€ x.safetensors"),
        ('attachment; FileName="../../evil.safetensors"', "evil.safetensors"),
        ('attachment; filename="..\\\\evil.safetensors"', "evil.safetensors"),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil.safetensors", "evil.safetensors"),
        ("attachment; filename*=nothing''x.safetensors", "x.safetensors"),
        ("attachment; filename*=UTF-8''x%00.safetensors; filename=y.safetensors", "y.safetensors"),
        ('attachment; filename=".hidden.safetensors"', None),
        ('attachment; filename=""', None),
        ("attachment", None),
        ("", None),
        ("filename", None),
        ("\r\nX: y; filename=a", "a"),
    ],
)
def test_the_name_in_the_header(header: str, name: str | None) -> None:
    assert given_name(header) == name


def test_the_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", SECRET)
    downloads = load_settings().downloads
    assert (downloads.civitai_token, downloads.civitai_endpoint) == (SECRET, "https://civitai.com")
    assert SECRET not in repr(downloads)
    monkeypatch.setenv("IMAGEGEN_DOWNLOADS__CIVITAI_TOKEN", "another")
    assert load_settings().downloads.civitai_token == "another"
