"""`imagegen validate`."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.cli_support import ROOT, Command

DEMO = ROOT / "graphs" / "demo"


def test_one_servable_prints_its_options(here: Command) -> None:
    by_folder, by_file = here("validate", str(DEMO)), here("validate", str(DEMO / "graph.pbtxt"))
    assert by_folder.returncode == by_file.returncode == 0
    options = json.loads(by_folder.stdout)
    assert options == json.loads(by_file.stdout)
    assert options["models_path"] == str(DEMO)
    assert options["default_resolution"] == "128x128"
    assert options["max_num_images_per_prompt"] == 10


def test_a_relative_path_is_the_same(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEMO)
    assert json.loads(here("validate", ".").stdout)["models_path"] == str(DEMO)


def test_a_folder_of_folders_prints_them_by_name(tmp_path: Path, here: Command) -> None:
    for name in ("one", "more/two"):
        # Without the adapters: their names would be there twice.
        shutil.copytree(DEMO, tmp_path / name, ignore=shutil.ignore_patterns("graph.pbtxt"))
    done = here("validate", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == ["more/two", "one"]


def test_a_config_json_prints_its_names(tmp_path: Path, here: Command) -> None:
    config = {"model_config_list": [{"config": {"name": "shapes", "base_path": str(DEMO)}}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = here("validate", str(tmp_path / "config.json"))
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["shapes"]


def test_the_device_of_graphs_that_name_none(tmp_path: Path, here: Command) -> None:
    shutil.copytree(DEMO, tmp_path / "m", ignore=shutil.ignore_patterns("graph.pbtxt"))
    done = here("validate", str(tmp_path / "m"), "--target_device", "GPU")
    assert json.loads(done.stdout)["device"] == "GPU"


def test_an_error_names_file_and_line(tmp_path: Path, here: Command) -> None:
    text = (DEMO / "graph.pbtxt").read_text().replace("default_num_inference_steps: 20", "steps: 20")
    (tmp_path / "graph.pbtxt").write_text(text)
    done = here("validate", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"imagegen: {tmp_path / 'graph.pbtxt'}:")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_path(here: Command) -> None:
    done = here("validate", "/no/such/place")
    assert (done.returncode, done.stderr) == (2, "imagegen: /no/such/place does not exist.\n")


def test_what_serve_refuses_is_refused(tmp_path: Path, here: Command) -> None:
    """A size that the model cannot draw."""
    text = (DEMO / "graph.pbtxt").read_text().replace('default_resolution: "128x128"', 'default_resolution: "100x100"')
    assert "100x100" in text
    model = tmp_path / "demo"
    shutil.copytree(DEMO, model)
    (model / "graph.pbtxt").write_text(text)
    for path in (model, model / "graph.pbtxt", tmp_path):
        done = here("validate", str(path))
        assert done.returncode == 2
        assert "default_resolution has 100x100, which this model cannot draw" in done.stderr


def test_own_options_are_printed_with_the_place_of_each(
    tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "models" / "demo"
    shutil.copytree(DEMO, model)
    of_all = tmp_path / "models" / "imagegen.toml"
    of_all.write_text('default_size_fit = "nearest"\n[model_aliases]\n"dall-e-3" = "outline"\n')
    (model / "imagegen.toml").write_text('# ours\ndefault_guidance_scale = 4\naliases = ["pictures"]\n')
    monkeypatch.setenv("IMAGEGEN_HTTP__DEFAULT_RESPONSE_FORMAT", "url")
    expected = {
        "default_size_fit": {"value": "nearest", "from": f"{of_all}:1"},
        "default_guidance_scale": {"value": 4.0, "from": f"{model / 'imagegen.toml'}:2"},
        "default_response_format": {"value": "url", "from": "IMAGEGEN_HTTP__DEFAULT_RESPONSE_FORMAT"},
        "aliases": [
            {"name": "typed", "model": "demo", "from": "--model_alias"},
            {"name": "pictures", "model": "demo", "from": f"{model / 'imagegen.toml'}:3"},
            {"name": "dall-e-3", "model": "outline", "from": f"{of_all}:3"},
        ],
    }
    for path in (tmp_path / "models", of_all):
        done = here("validate", str(path), "--model_alias", "typed=demo")
        assert json.loads(done.stdout)["demo"]["imagegen.toml"] == expected, done.stderr
    of_model = [json.loads(here("validate", str(model / name)).stdout) for name in ("", "graph.pbtxt", "imagegen.toml")]
    of_model[2] = of_model[2].pop("demo")
    assert [one["imagegen.toml"]["default_size_fit"] for one in of_model] == [{"value": "exact", "from": "default"}] * 3
    assert [one["imagegen.toml"]["aliases"][0]["name"] for one in of_model] == ["pictures"] * 3


def test_wrong_own_options_are_named_with_file_and_line(tmp_path: Path, here: Command) -> None:
    models = tmp_path / "models"
    for name in ("a", "b"):
        shutil.copytree(DEMO, models / name, ignore=shutil.ignore_patterns("graph.pbtxt"))
    (models / "b" / "imagegen.toml").write_text('default_size_fitt = "nearest"\n')
    done = here("validate", str(models))
    assert (done.returncode, list(json.loads(done.stdout))) == (2, ["a"])
    says = "default_size_fitt: There is no such option; did you mean default_size_fit?"
    assert done.stderr == f"b cannot be served: {models / 'b' / 'imagegen.toml'}:1: {says}\n"
    (models / "imagegen.toml").write_text("\nx = 1\n")
    done = here("validate", str(models))
    assert done.returncode == 2
    assert done.stderr.startswith(f"imagegen: {models / 'imagegen.toml'}:2: x: There is no such option; known are ")
