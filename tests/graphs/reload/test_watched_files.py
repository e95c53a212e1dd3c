"""Changes of files are noticed once they have come to rest, and only those of files that are read."""

import os
import shutil
from pathlib import Path

import pytest

from graphs.reload.watched_files import WatchedFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a model."""
    (tmp_path / "org" / "model" / "unet").mkdir(parents=True)
    (tmp_path / "org" / "model" / "graph.pbtxt").write_text("node: {}")
    (tmp_path / "org" / "model" / "unet" / "openvino_model.bin").write_bytes(b"1")
    return tmp_path


def _settled(*places: Path) -> WatchedFiles:
    """Return watched files that have been looked at until nothing was new."""
    watched = WatchedFiles(lambda: places)
    assert watched.look() == [], "a new place may still be written"
    assert watched.look() == sorted(map(str, places))
    assert watched.look() == []
    return watched


def test_an_edited_file_is_returned_after_two_equal_looks_and_once(folder: Path) -> None:
    watched = _settled(folder)
    graph = folder / "org" / "model" / "graph.pbtxt"
    graph.write_text("node: { }")
    assert watched.look() == []
    graph.write_text("node: {  }")  # it is still being written
    assert watched.look() == []
    assert watched.look() == [str(graph)]
    assert watched.look() == []


def test_two_edits_of_one_length_within_a_second_are_two(folder: Path) -> None:
    graph = folder / "org" / "model" / "graph.pbtxt"
    watched = _settled(folder)
    for text in ("steps: 1", "steps: 2"):
        graph.write_text(text)
        assert (watched.look(), watched.look()) == ([], [str(graph)])


@pytest.mark.parametrize("kind", ["new", "gone", "weights", "moved"])
def test_what_counts(folder: Path, kind: str) -> None:
    model = folder / "org" / "model"
    watched = _settled(folder)
    if kind == "new":
        shutil.copytree(model, folder / "org" / "other")
    elif kind == "gone":
        shutil.rmtree(model)
    elif kind == "weights":
        (model / "unet" / "openvino_model.bin").write_bytes(b"12")
    else:
        model.rename(folder / "org" / "renamed")
    assert watched.look() == []
    assert watched.look() != []


def test_a_link_that_is_moved_to_another_folder_counts(tmp_path: Path) -> None:
    """As Kubernetes changes the files of a ConfigMap."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.json").write_text("{}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.json").symlink_to("..data/config.json")
    watched = _settled(tmp_path / "config.json")
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert (watched.look(), watched.look()) == ([], [str(tmp_path / "config.json")])


def test_other_files_and_links_to_themselves_do_not_count(folder: Path) -> None:
    (folder / "org" / "up").symlink_to(folder)
    watched = _settled(folder)
    (folder / "service.log").write_text("line")
    (folder / ".partial").mkdir()
    (folder / ".partial" / "graph.pbtxt").write_text("half")
    assert [watched.look() for _ in range(3)] == [[], [], []]


def test_a_place_that_comes_goes_and_comes_back_is_followed(tmp_path: Path) -> None:
    place = tmp_path / "config.json"
    watched = _settled(place)
    for change in (lambda: place.write_text("{}"), place.unlink, lambda: place.write_text("{}")):
        change()
        assert (watched.look(), watched.look()) == ([], [str(place)])


def test_files_that_never_rest_are_returned_all_the_same(folder: Path) -> None:
    graph = folder / "org" / "model" / "graph.pbtxt"
    watched = _settled(folder)
    for size in range(1, 60):
        graph.write_text("x" * size)
        if watched.look():
            return
    pytest.fail("sixty changes were never returned")
