"""What is served after the models on disk have changed: what cannot be read stays as it was."""

import json
from pathlib import Path

import pytest

from graphs.errors import ConfigurationError
from graphs.reload.served_models import ServedModels, Source
from tests.support.service import write_graph


class Disk:
    """A config.json with models of the bundled weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = Source(config_path=folder / "config.json", model_alias="first=one")

    def holds(self, *names: str, **more: str) -> None:
        entries = [{"name": name, "base_path": name} for name in names]
        (self.folder / "config.json").write_text(json.dumps({"mediapipe_config_list": entries, **more}))
        for name in names:
            write_graph(self.folder / name, steps=3)

    def breaks(self, name: str) -> None:
        (self.folder / name / "graph.pbtxt").write_text("oops: 1")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    found = Disk(tmp_path)
    found.holds("one", "two")
    return found


def _names(served: ServedModels) -> list[str]:
    assert list(served.facts) == list(served.digests) == list(served.repository.graphs)
    return list(served.repository.graphs)


def test_a_broken_graph_stays_as_it_was_with_its_other_names(disk: Disk) -> None:
    (disk.folder / "two" / "imagegen.toml").write_text('aliases = ["second"]\ndefault_guidance_scale = 3.0')
    before = disk.source.read()
    disk.breaks("two")
    after = disk.source.read().after(before)
    assert _names(after) == ["one", "two"]
    assert after.has_same(before, "two") and after.has_same(before, "one")
    assert after.repository.route("second").graph.name == "two"
    assert after.repository.options_of("two").values.default_guidance_scale == 3.0
    assert list(after.unread) == ["two"] and "graph.pbtxt:1: oops" in after.unread["two"]
    write_graph(disk.folder / "two", steps=3)
    assert disk.source.read().after(after).unread == {}


def test_a_new_model_that_is_broken_changes_nothing_for_others(disk: Disk) -> None:
    disk.holds("one")
    before = disk.source.read()
    disk.holds("one", "new")
    disk.breaks("new")
    after = disk.source.read().after(before)
    assert (_names(after), list(after.unread)) == (["one"], ["new"])
    assert after.repository.route(None).graph.name == "one", "requests that name no model still mean the only one"


def test_a_broken_list_is_an_error_and_an_empty_one_is_not(disk: Disk) -> None:
    before = disk.source.read()
    (disk.folder / "config.json").write_text('{"mediapipe')
    with pytest.raises(ConfigurationError, match=r"config.json: This is not JSON"):
        disk.source.read().after(before)
    (disk.folder / "config.json").write_text('{"mediapipe_config_list": []}')
    with pytest.raises(ConfigurationError, match="The alias 'first' means 'one', which is not served here"):
        disk.source.read()
    assert _names(Source(config_path=disk.folder / "config.json").read().after(before)) == []


def test_models_of_the_moment_before_can_be_put_back(disk: Disk) -> None:
    before = disk.source.read()
    write_graph(disk.folder / "two", steps=9)
    wanted = disk.source.read()
    assert not wanted.has_same(before, "two")
    mixed = wanted.with_models_of(before, ["two"])
    assert mixed.has_same(before, "two") and mixed.has_same(wanted, "one")
    assert _names(before.with_models_of(Source(model_path=disk.folder / "one").read(), ["two"])) == ["one"]


def test_places_are_the_files_that_are_read_and_folders_that_may_come(disk: Disk, tmp_path: Path) -> None:
    disk.holds("one", "two")
    (tmp_path / "config.json").write_text(
        json.dumps({"mediapipe_config_list": [{"name": "one"}, {"name": "later", "base_path": "later"}]})
    )
    served = disk.source.read()
    places = disk.source.places(served.repository.graphs.values())
    for path in ("config.json", "imagegen.toml", "one", "later", "one/graph.pbtxt", "one/imagegen.toml"):
        assert tmp_path / path in places, path
    assert served.repository.graphs["one"].models_path in places
    assert Source().places(Source().read().repository.graphs.values()) == [], "the bundled model never changes"
