"""Adapters from Hugging Face: the real huggingface_hub, and a local server in the place of the Hub."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from config.environment import load_settings
from config.settings import DownloadSettings
from graphs.adapters.sources import parse_source_loras
from graphs.errors import ConfigurationError
from tests.workers.sources.sources_support import COMMIT, REPOSITORY, FileServer, Page, adapter_bytes, file_server
from workers.sources.fetch import fetch
from workers.sources.hub_pages import HubFile, file_of_page

BODY = adapter_bytes()


@pytest.fixture(autouse=True)
def without_user_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("workers.sources.hub_client.get_token", lambda: None)
    yield
    huggingface_hub.close_session()


@pytest.fixture
def hub() -> Iterator[FileServer]:
    with file_server() as running:
        running.add_repository({"README.md": b"# style", "style.safetensors": BODY})
        yield running


def settings_for(hub: FileServer, **more: object) -> DownloadSettings:
    return DownloadSettings.model_validate({"hf_endpoint": hub.url, "timeout_s": 5, **more})


def get(source: str, folder: Path, settings: DownloadSettings) -> Path:
    (adapter,) = parse_source_loras(f"style={source}").adapters
    return fetch(adapter, folder, settings, lambda *_: None)


def refusal(source: str, folder: Path, settings: DownloadSettings) -> str:
    with pytest.raises(ConfigurationError) as refused:
        get(source, folder, settings)
    sentence = str(refused.value)
    assert sentence.startswith("adapter 'style': ") and sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_only_file_of_a_repository(slash: str, hub: FileServer, tmp_path: Path) -> None:
    settings = settings_for(hub, hf_endpoint=hub.url + slash)
    file = get(REPOSITORY, tmp_path, settings)
    assert file == tmp_path / "loras" / "org" / "repo" / "style.safetensors"
    assert file.read_bytes() == BODY
    # The file comes from the revision that was listed.
    assert hub.paths() == [f"/api/models/{REPOSITORY}", f"/{REPOSITORY}/resolve/{COMMIT}/style.safetensors"]
    assert [path.name for path in file.parent.iterdir()] == ["style.safetensors"]


def test_a_named_file_needs_no_listing_and_is_downloaded_once(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"a.safetensors": b"", "sub/Ukiyo-e Art.safetensors": BODY})
    for _ in range(2):
        file = get(f"{REPOSITORY}@sub/Ukiyo-e Art.safetensors:0.8", tmp_path, settings_for(hub))
    assert file == tmp_path / "loras" / "org" / "repo" / "sub" / "Ukiyo-e Art.safetensors"
    assert file.read_bytes() == BODY
    assert hub.paths() == [f"/{REPOSITORY}/resolve/main/sub/Ukiyo-e Art.safetensors"]


@pytest.mark.parametrize("kind", ["blob", "resolve"])
@pytest.mark.parametrize(
    ("site", "more"),
    [
        ("https://huggingface.co", ""),
        ("https://hf.co", "?download=true"),
        ("http://www.huggingface.co", "?download=true:0.8"),
        (None, ":0.8"),
    ],
)
def test_a_page_is_the_file_of_its_repository(
    site: str | None, more: str, kind: str, hub: FileServer, tmp_path: Path
) -> None:
    """Of the site itself, and of the server that is set in its place."""
    for _ in range(2):
        address = f"{site or hub.url}/{REPOSITORY}/{kind}/main/style.safetensors{more}"
        file = get(address, tmp_path, settings_for(hub, hf_token="hf_secret"))
    assert file == tmp_path / "loras" / "style" / "style.safetensors"
    assert file.read_bytes() == BODY
    assert hub.paths() == [f"/{REPOSITORY}/resolve/main/style.safetensors"]
    assert {headers.get("authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}


def test_a_revision_has_a_file_of_its_own(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"sub/Ukiyo-e Art.safetensors": BODY})
    start = f"https://huggingface.co/{REPOSITORY}/blob"
    pages = [f"{start}/{revision}/sub/Ukiyo-e%20Art.safetensors" for revision in ("main", COMMIT, "refs%2Fpr%2F1")]
    files = [get(page, tmp_path, settings_for(hub)) for page in pages]
    place = tmp_path / "loras" / "style"
    folders = (place, place / COMMIT, place / "refs%2Fpr%2F1")
    assert files == [folder / "Ukiyo-e Art.safetensors" for folder in folders]
    assert hub.paths() == [
        f"/{REPOSITORY}/resolve/{revision}/sub/Ukiyo-e Art.safetensors" for revision in ("main", COMMIT, "refs/pr/1")
    ]


def test_a_page_of_a_file_that_is_not_there(hub: FileServer, tmp_path: Path) -> None:
    page = f"https://huggingface.co/{REPOSITORY}/blob/main/other.safetensors"
    assert "has no file 'other.safetensors'" in refusal(page, tmp_path, settings_for(hub))
    hub.pages[f"/{REPOSITORY}/resolve/v9/style.safetensors"] = Page(b"", 404, {"X-Error-Code": "RevisionNotFound"})
    page = f"https://huggingface.co/{REPOSITORY}/blob/v9/style.safetensors"
    assert "has no such revision" in refusal(page, tmp_path, settings_for(hub))
    assert "HF_HUB_OFFLINE" in refusal(page, tmp_path, settings_for(hub, offline=True))


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("https://mirror.example/hub/o/r/blob/main/x.safetensors", HubFile("o/r", "main", "x.safetensors")),
        ("https://mirror.example/o/r/blob/main/x.safetensors", None),
        ("https://mirror.example:444/hub/o/r/blob/main/x.safetensors", None),
        ("https://huggingface.co/o/r/raw/v1/a/x%20y.safetensors", HubFile("o/r", "v1", "a/x y.safetensors")),
        ("https://huggingface.co/datasets/o/r/resolve/main/x.safetensors", None),
        ("https://huggingface.co/o/r/blob/../x.safetensors", None),
        ("https://huggingface.co/o/r/blob/%2E%2E/x.safetensors", None),
        ("https://huggingface.co:8443/o/r/blob/main/x.safetensors", None),
        ("https://huggingface.co.example/o/r/blob/main/x.safetensors", None),
    ],
)
def test_which_urls_are_of_the_hub(url: str, file: HubFile | None) -> None:
    assert file_of_page(url, "https://mirror.example/hub/") == file


def test_a_name_may_be_written_as_in_a_url(hub: FileServer, tmp_path: Path) -> None:
    """OpenVINO Model Server's own example writes a space as %20."""
    hub.add_repository({"Ukiyo-e Art.safetensors": BODY, "a, b.safetensors": BODY})
    for written, name in (("Ukiyo-e%20Art", "Ukiyo-e Art"), ("a%2C%20b", "a, b"), ("a, b", "a, b")):
        file = get(f"{REPOSITORY}@{written}.safetensors", tmp_path, settings_for(hub))
        assert file.name == f"{name}.safetensors"


def test_an_existing_file_is_not_downloaded_again(hub: FileServer, tmp_path: Path) -> None:
    for _ in range(2):
        get(REPOSITORY, tmp_path, settings_for(hub))
    assert hub.paths().count(f"/{REPOSITORY}/resolve/{COMMIT}/style.safetensors") == 1


def test_several_files_are_listed(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"b.safetensors": BODY, "a.safetensors": BODY, "x.bin": b""})
    sentence = refusal(REPOSITORY, tmp_path, settings_for(hub))
    assert "has 2 .safetensors files" in sentence and "a.safetensors, b.safetensors" in sentence
    assert f"{REPOSITORY}@FILE" in sentence


def test_a_repository_without_an_adapter_lists_its_files(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"model.bin": b"", "README.md": b""})
    assert "has no .safetensors file (README.md, model.bin)" in refusal(REPOSITORY, tmp_path, settings_for(hub))
    hub.add_repository({})
    assert "has no .safetensors file (it is empty)" in refusal(REPOSITORY, tmp_path, settings_for(hub))


def test_a_listing_cannot_lead_out_of_the_folder(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"../../../evil.safetensors": BODY})
    assert "has no .safetensors file" in refusal(REPOSITORY, tmp_path, settings_for(hub))


def test_a_file_that_is_not_in_the_repository(hub: FileServer, tmp_path: Path) -> None:
    sentence = refusal(f"{REPOSITORY}@other.safetensors", tmp_path, settings_for(hub))
    assert "has no file 'other.safetensors'" in sentence


def test_a_repository_that_does_not_exist(hub: FileServer, tmp_path: Path) -> None:
    sentence = refusal("org/other", tmp_path, settings_for(hub))
    assert "has no repository org/other" in sentence and "HF_TOKEN" in sentence


def test_a_gated_repository(hub: FileServer, tmp_path: Path) -> None:
    hub.pages[f"/api/models/{REPOSITORY}"] = Page(b"{}", 403, {"X-Error-Code": "GatedRepo"})
    sentence = refusal(REPOSITORY, tmp_path, settings_for(hub))
    assert f"{hub.url}/{REPOSITORY}" in sentence and "HF_TOKEN" in sentence


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: FileServer, tmp_path: Path) -> None:
    name = f"/{REPOSITORY}/resolve/{COMMIT}/style.safetensors"
    with file_server() as storage:
        storage.pages["/blob"] = Page(BODY, etag='"other"')
        hub.pages[name].status = 302
        hub.pages[name].headers["Location"] = f"{storage.url}/blob?signature=1"
        # The storage is not the server that the operator configured.
        settings = settings_for(hub, hf_token="hf_secret")
        assert "plain HTTP" in refusal(REPOSITORY, tmp_path, settings)
        settings = settings_for(hub, hf_token="hf_secret", allow_http=True)
        assert "ALLOW_PRIVATE" in refusal(REPOSITORY, tmp_path, settings)
        settings = settings_for(hub, hf_token="hf_secret", allow_http=True, allow_private=True)
        assert get(REPOSITORY, tmp_path, settings).read_bytes() == BODY
        assert [headers.get("authorization") for _, _, headers in storage.requests] == [None]
    assert {headers.get("authorization") for _, _, headers in hub.requests} == {"Bearer hf_secret"}


def test_an_interrupted_download_is_resumed(hub: FileServer, tmp_path: Path) -> None:
    name = f"/{REPOSITORY}/resolve/{COMMIT}/style.safetensors"
    hub.pages[name].cut = 1000
    assert get(REPOSITORY, tmp_path, settings_for(hub)).read_bytes() == BODY
    ranges = [headers.get("range") for method, path, headers in hub.requests if (method, path) == ("GET", name)]
    assert ranges == [None, "bytes=1000-", "bytes=2000-"]


def test_another_checksum_is_refused(hub: FileServer, tmp_path: Path) -> None:
    name = f"/{REPOSITORY}/resolve/{COMMIT}/style.safetensors"
    hub.pages[name].headers["X-Linked-Etag"] = f'"{hashlib.sha256(b"something else").hexdigest()}"'
    assert "SHA-256" in refusal(REPOSITORY, tmp_path, settings_for(hub))
    assert list((tmp_path / "loras" / "org" / "repo").iterdir()) == []


def test_a_sha1_etag_of_a_small_file_is_not_compared(hub: FileServer, tmp_path: Path) -> None:
    hub.add_repository({"style.safetensors": BODY}, lfs=False)
    assert get(REPOSITORY, tmp_path, settings_for(hub)).read_bytes() == BODY


def test_the_size_limit(hub: FileServer, tmp_path: Path) -> None:
    assert "limit of 100 bytes" in refusal(REPOSITORY, tmp_path, settings_for(hub, max_bytes=100))


def test_offline(hub: FileServer, tmp_path: Path) -> None:
    offline = settings_for(hub, offline=True)
    for source in (REPOSITORY, f"{REPOSITORY}@style.safetensors"):
        sentence = refusal(source, tmp_path, offline)
        assert "HF_HUB_OFFLINE" in sentence and REPOSITORY in sentence
    assert hub.requests == []
    file = get(REPOSITORY, tmp_path, settings_for(hub))
    hub.requests.clear()
    assert get(REPOSITORY, tmp_path, offline) == get(f"{REPOSITORY}@style.safetensors", tmp_path, offline) == file
    assert hub.requests == []
    file.with_name("second.safetensors").write_bytes(BODY)
    assert "HF_HUB_OFFLINE" in refusal(REPOSITORY, tmp_path, offline)


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    nowhere = DownloadSettings(hf_endpoint="http://127.0.0.1:1", timeout_s=2)
    for source in (REPOSITORY, f"{REPOSITORY}@style.safetensors"):
        sentence = refusal(source, tmp_path, nowhere)
        assert "127.0.0.1:1 cannot be reached" in sentence and "HF_ENDPOINT" in sentence
    present = tmp_path / "loras" / "org" / "repo" / "style.safetensors"
    present.parent.mkdir(parents=True)
    present.write_bytes(BODY)
    assert get(REPOSITORY, tmp_path, nowhere) == present


def test_a_hub_that_answers_503(hub: FileServer, tmp_path: Path) -> None:
    hub.pages[f"/api/models/{REPOSITORY}"] = Page(b"", 503)
    assert "status 503" in refusal(REPOSITORY, tmp_path, settings_for(hub))


def test_a_server_that_is_no_hub(hub: FileServer, tmp_path: Path) -> None:
    hub.pages[f"/api/models/{REPOSITORY}"] = Page(b"<html>welcome</html>")
    assert REPOSITORY in refusal(REPOSITORY, tmp_path, settings_for(hub))


def test_the_environment_variables_of_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    downloads = load_settings().downloads
    assert (downloads.hf_token, downloads.hf_endpoint) == ("hf_secret", "https://mirror.example/")
    assert downloads.offline and not (downloads.allow_http or downloads.allow_private)
    assert "hf_secret" not in repr(downloads)
    monkeypatch.setenv("IMAGEGEN_DOWNLOADS__HF_TOKEN", "hf_other")
    assert load_settings().downloads.hf_token == "hf_other"
