"""Our own options of models: which place wins, what fails, and what ends the start."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import RepositoryError
from graphs.repository.bundled import load_served
from graphs.repository.repository import Repository
from tests.graphs.definition.graph_files import MODELS, graph_text

STATIC = 'resolution: "512x512"'


def _model(root: Path, name: str, options: str = "", more: str = "") -> Path:
    """Make a model with a graph.pbtxt and, where ``options`` are given, an imagegen.toml."""
    folder = root / name
    shutil.copytree(MODELS / "sd", folder)
    (folder / "graph.pbtxt").write_text(graph_text(f'models_path: "./" {more}'))
    if options:
        (folder / "imagegen.toml").write_text(options)
    return folder


def _served(root: Path, of_all: str = "", **settings: Any) -> Repository:
    if of_all:
        (root / "imagegen.toml").write_text(of_all)
    return load_served(model_repository_path=root, **settings)


def _option(repository: Repository, model: str, key: str) -> tuple[Any, str]:
    merged = repository.options_of(model)
    return getattr(merged.values, key), merged.origin(key)


def test_what_is_typed_wins_then_the_models_file_then_that_of_all(tmp_path: Path) -> None:
    _model(tmp_path, "a", 'default_size_fit = "exact"\ndefault_guidance_scale = 3')
    _model(tmp_path, "b")
    of_all = 'default_size_fit = "nearest"\ndefault_guidance_scale = 4.5\ndefault_response_format = "url"'
    repository = _served(tmp_path, of_all, typed={"default_response_format": ("b64_json", "IMAGEGEN_X")})
    places = {"a": tmp_path / "a" / "imagegen.toml", "b": tmp_path / "imagegen.toml"}
    assert _option(repository, "a", "default_size_fit") == ("exact", f"{places['a']}:1")
    assert _option(repository, "a", "default_guidance_scale") == (3.0, f"{places['a']}:2")
    assert _option(repository, "b", "default_size_fit") == ("nearest", f"{places['b']}:1")
    assert _option(repository, "b", "default_guidance_scale") == (4.5, f"{places['b']}:2")
    for name in ("a", "b"):
        assert _option(repository, name, "default_response_format") == ("b64_json", "IMAGEGEN_X")


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    _model(tmp_path, "a")
    repository = _served(tmp_path)
    assert _option(repository, "a", "default_size_fit") == ("exact", "default")
    assert _option(repository, "a", "default_guidance_scale") == (None, "default")
    assert repository.aliases == ()


def test_beside_config_json_it_is_for_all(tmp_path: Path) -> None:
    _model(tmp_path / "models", "a")
    config = {"model_config_list": [{"config": {"name": "pictures", "base_path": "models/a"}}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "imagegen.toml").write_text('default_size_fit = "nearest"\n[model_aliases]\nx = "pictures"')
    repository = load_served(config_path=tmp_path / "config.json")
    assert _option(repository, "pictures", "default_size_fit")[0] == "nearest"
    assert repository.route("x").model == "pictures"


def test_the_file_of_a_single_model_is_also_that_for_all(tmp_path: Path) -> None:
    folder = _model(tmp_path, "a", 'aliases = ["x"]\n[model_aliases]\ny = "a"')
    for repository in (load_served(model_path=folder), load_served(model_repository_path=folder)):
        assert [repository.route(name).model for name in ("x", "y")] == ["a", "a"]


def test_where_graph_pbtxt_stands_elsewhere_the_file_in_the_models_folder_counts(tmp_path: Path) -> None:
    model = _model(tmp_path, "model", "default_guidance_scale = 2")
    folder = tmp_path / "graphs" / "g"
    folder.mkdir(parents=True)
    (folder / "graph.pbtxt").write_text(graph_text(f'models_path: "{model}"'))
    assert _option(load_served(model_path=folder), "g", "default_guidance_scale")[0] == 2
    (folder / "imagegen.toml").write_text("default_guidance_scale = 3")
    assert _option(load_served(model_path=folder), "g", "default_guidance_scale")[0] == 3


def test_aliases_in_order_typed_of_models_of_all_and_exact_names_first(tmp_path: Path) -> None:
    _model(tmp_path, "a", 'aliases = ["x", "y", "p-*"]')
    _model(tmp_path, "b")
    of_all = '[model_aliases]\n"x" = "b"\n"y" = "b"\n"z" = "b"\n"p-1" = "b"'
    repository = _served(tmp_path, of_all, model_alias="y=b,q=a")
    models = {name: repository.route(name).model for name in ("x", "y", "z", "q", "p-1", "p-2")}
    assert models == {"x": "a", "y": "b", "z": "b", "q": "a", "p-1": "b", "p-2": "a"}
    places = {alias.name: alias.place for alias in repository.aliases}
    assert places["x"] == f"{tmp_path / 'a' / 'imagegen.toml'}:1"
    assert places["y"] == "--model_alias"
    assert places["z"] == f"{tmp_path / 'imagegen.toml'}:4"


@pytest.mark.parametrize(
    ("options", "more", "says"),
    [
        ("steps = 3", "", ":1: steps: There is no such option"),
        ('[model_aliases]\nx = "other"', "", ":2: The alias 'x' means 'other', which is not served here."),
        ('aliases = ["b"]', "", ":1: The alias 'b' is a model itself"),
        ('aliases = ["a"]', "", ":1: The alias 'a' is taken by 'a'"),
        ('aliases = ["x", "x"]', "", ":1: The alias 'x' is given twice."),
        ('aliases = [""]', "", ":1: The alias '' must be a name of printable characters."),
        ('aliases = ["\\n"]', "", "must be a name of printable characters."),
        (
            "default_guidance_scale = 5",
            f"{STATIC} guidance_scale: 7.5",
            ":1: default_guidance_scale: The graph.pbtxt of this model compiles guidance_scale 7.5 in; remove",
        ),
        ("default_guidance_scale = 1", STATIC, ":1: default_guidance_scale: It must be above 1, not 1"),
    ],
)
def test_a_wrong_file_of_a_model_fails_that_model(tmp_path: Path, options: str, more: str, says: str) -> None:
    _model(tmp_path, "a")
    _model(tmp_path, "b", options, more)
    repository = _served(tmp_path)
    assert list(repository.graphs) == ["a"]
    assert repository.failed["b"].startswith(f"{tmp_path / 'b' / 'imagegen.toml'}:")
    assert says in repository.failed["b"]


def test_of_two_models_with_one_alias_the_second_has_failed(tmp_path: Path) -> None:
    _model(tmp_path, "a", 'aliases = ["x"]')
    _model(tmp_path, "b", 'aliases = ["x"]')
    repository = _served(tmp_path)
    assert repository.route("x").model == "a"
    assert "The alias 'x' is taken by 'a'; choose another name." in repository.failed["b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('default_size_fit = "near"', ':1: default_size_fit: "near" cannot be used here'),
        ('[model_aliases]\nx = "aa"', ":2: The alias 'x' means 'aa', which is not served here. Did you mean 'a'?"),
        ('[model_aliases]\na = "a"', ":2: The alias 'a' is a model itself"),
        ('aliases = ["x"]', ":1: aliases: This file is for all models; write the names as a table"),
    ],
)
def test_a_wrong_file_for_all_ends_the_start(tmp_path: Path, text: str, says: str) -> None:
    _model(tmp_path, "a")
    with pytest.raises(RepositoryError) as refusal:
        _served(tmp_path, text)
    assert refusal.value.message.startswith(f"{tmp_path / 'imagegen.toml'}:")
    assert says in refusal.value.message


@pytest.mark.parametrize(("more", "drawn"), [(f"{STATIC} guidance_scale: 7.5", None), (STATIC, None), ("", 1.0)])
def test_what_a_model_cannot_have_of_the_file_for_all_it_does_not_have(
    tmp_path: Path, more: str, drawn: float | None
) -> None:
    _model(tmp_path, "a", more=more)
    repository = _served(tmp_path, "default_guidance_scale = 1")
    assert _option(repository, "a", "default_guidance_scale")[0] == drawn


def test_a_model_that_is_served_under_one_adapter_only_has_that_alias(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").write_bytes(b"")
    adapter = f'lora_adapters {{ alias: "ink" path: "{tmp_path / "ink.safetensors"}" mode: STATIC }}'
    _model(tmp_path, "a", 'aliases = ["x"]', adapter)
    assert _served(tmp_path).route("x").model == "ink"
