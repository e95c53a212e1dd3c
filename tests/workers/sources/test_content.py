"""Downloaded files are kept by content: one file on disk for equal downloads, and never another's content."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import DownloadSettings
from graphs.adapters.lora_source import LoraSource
from tests.workers.sources.sources_support import FileServer, Page, adapter_bytes, file_server
from workers.sources.content import delete_name
from workers.sources.fetch import fetch

HERE = DownloadSettings(allow_http=True, allow_private=True, timeout_s=5)
FIRST, SECOND = adapter_bytes(fill=b"1"), adapter_bytes(fill=b"2")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.pages |= {f"/{name}/a.safetensors": Page(FIRST) for name in ("x", "y")}
        running.pages["/z/a.safetensors"] = Page(SECOND)
        yield running


def _fetched(server: FileServer, alias: str, name: str, folder: Path) -> Path:
    url = f"{server.url}/{name}/a.safetensors"
    return fetch(LoraSource(alias, "url", url), folder, HERE, lambda _done, _total: None)


def _contents(folder: Path) -> list[Path]:
    return list((folder / "loras" / ".content").iterdir())


def test_two_aliases_of_one_content_share_one_file(server: FileServer, tmp_path: Path) -> None:
    one = _fetched(server, "one", "x", tmp_path)
    two = _fetched(server, "two", "y", tmp_path)
    other = _fetched(server, "three", "z", tmp_path)
    assert one != two
    assert one.samefile(two)
    assert (one.read_bytes(), two.read_bytes(), other.read_bytes()) == (FIRST, FIRST, SECOND)
    assert len(_contents(tmp_path)) == 2


def test_a_deleted_name_leaves_the_content_to_the_others_and_the_last_takes_it_along(
    server: FileServer, tmp_path: Path
) -> None:
    one = _fetched(server, "one", "x", tmp_path)
    two = _fetched(server, "two", "y", tmp_path)
    delete_name(one, tmp_path / "loras")
    assert not one.exists()
    assert two.read_bytes() == FIRST
    assert len(_contents(tmp_path)) == 1
    delete_name(two, tmp_path / "loras")
    assert _contents(tmp_path) == []


def test_the_same_alias_and_name_with_another_content_is_the_other_content(server: FileServer, tmp_path: Path) -> None:
    one = _fetched(server, "one", "x", tmp_path)
    other = _fetched(server, "one", "z", tmp_path)
    assert (one.read_bytes(), other.read_bytes()) == (FIRST, SECOND)
    delete_name(one, tmp_path / "loras")
    server.pages["/x/a.safetensors"] = Page(SECOND, etag='"v2"')
    again = _fetched(server, "one", "x", tmp_path)
    assert again.read_bytes() == SECOND
    assert again.samefile(other)


def test_what_was_written_into_a_shared_file_is_not_taken_for_its_old_content(
    server: FileServer, tmp_path: Path
) -> None:
    one = _fetched(server, "one", "x", tmp_path)
    one.write_bytes(SECOND)
    assert _fetched(server, "two", "y", tmp_path).read_bytes() == FIRST


def test_where_links_cannot_be_made_each_name_has_its_own_file(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / ".content").write_text("no folder")
    one = _fetched(server, "one", "x", tmp_path)
    two = _fetched(server, "two", "y", tmp_path)
    assert one.read_bytes() == two.read_bytes() == FIRST
    assert not one.samefile(two)
