import json
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import GraphError, InvalidRequest, ModelNotFound, RepositoryError, ServiceUnavailable
from graphs.repository.repository import Repository, load_repository
from graphs.repository.servables import Servable, servables_below
from tests.graphs.definition.graph_files import EXAMPLE, MODELS, graph_text, write_graph


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    return folder


def _names(repository: Repository) -> list[str]:
    return list(repository.graphs)


def _lora(alias: str) -> str:
    return graph_text(f'models_path: "./" lora_adapters {{ alias: "{alias}" path: "a.safetensors" }}')


def test_one_folder_is_served_under_its_own_name() -> None:
    repository = load_repository(model_path=MODELS / "sd", default_device="GPU")
    assert _names(repository) == ["sd"]
    assert repository.base_graph is not None
    assert repository.base_graph.models_path == MODELS / "sd"
    assert repository.base_graph.device == ("GPU",)


def test_one_folder_is_served_under_another_name() -> None:
    assert _names(load_repository(model_path=MODELS / "sd", model_name="org/dream")) == ["org/dream"]


def test_a_graph_comes_before_the_model_index(tmp_path: Path) -> None:
    write_graph(tmp_path / "m", graph_text('models_path: "./" default_num_inference_steps: 4'))
    graph = load_repository(model_path=tmp_path / "m").base_graph
    assert graph is not None
    assert graph.default_num_inference_steps == 4


@pytest.mark.parametrize("path", [".", "../m", "./"])
def test_a_relative_folder_has_its_real_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(_model(tmp_path / "m"))
    assert _names(load_repository(model_path=Path(path))) == ["m"]
    assert _names(load_repository(model_repository_path=Path(path))) == ["m"]


def test_a_link_is_served_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "flux").symlink_to(_model(tmp_path / "snapshots" / "0123abc"))
    assert _names(load_repository(model_path=tmp_path / "flux")) == ["flux"]


def test_every_pipeline_below_a_folder_is_served() -> None:
    repository = load_repository(model_repository_path=MODELS)
    assert {"sd", "lcm", "sdxl", "sd3", "flux"} <= set(repository.graphs)
    assert _names(repository) == sorted(repository.graphs)
    assert repository.base_graph is None


def test_names_below_a_folder_have_slashes(tmp_path: Path) -> None:
    write_graph(tmp_path / "OpenVINO" / "FLUX.1")
    _model(tmp_path / "OpenVINO" / "sd")
    _model(tmp_path / "a b")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    repository = load_repository(model_repository_path=tmp_path)
    assert _names(repository) == ["OpenVINO/FLUX.1", "OpenVINO/sd", "a b"]


def test_hidden_folders_and_a_models_own_folders_are_left_out(tmp_path: Path) -> None:
    _model(tmp_path / ".cache" / "sd")
    _model(tmp_path / "m")
    _model(tmp_path / "m" / "inner")
    assert _names(load_repository(model_repository_path=tmp_path)) == ["m"]


def test_links_that_lead_back_do_not_hang(tmp_path: Path) -> None:
    _model(tmp_path / "a" / "m")
    for number in range(5):
        (tmp_path / "a" / f"up{number}").symlink_to(tmp_path)
        (tmp_path / "a" / f"self{number}").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert _names(load_repository(model_repository_path=tmp_path)) == ["a/m"]


def test_the_search_ends_at_eight_folders(tmp_path: Path) -> None:
    _model(tmp_path.joinpath(*"12345678"))
    _model(tmp_path.joinpath(*"abcdefghi"))
    assert [found.name for found in servables_below(tmp_path)] == ["1/2/3/4/5/6/7/8"]


def test_a_name_is_for_the_only_model_below_a_folder(tmp_path: Path) -> None:
    _model(tmp_path / "m")
    assert _names(load_repository(model_repository_path=tmp_path, model_name="dream")) == ["dream"]
    _model(tmp_path / "n")
    with pytest.raises(RepositoryError, match="2 are here"):
        load_repository(model_repository_path=tmp_path, model_name="dream")


@pytest.mark.parametrize("source", ["model_repository_path", "model_path"])
def test_nothing_to_serve_is_refused_with_what_a_servable_is(tmp_path: Path, source: str) -> None:
    with pytest.raises(RepositoryError, match=r"graph\.pbtxt.*model_index\.json") as refusal:
        load_repository(**{source: tmp_path})  # type: ignore[arg-type]
    assert str(tmp_path) in str(refusal.value)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="cannot be read"):
        load_repository(model_repository_path=tmp_path / "absent")
    with pytest.raises(RepositoryError, match="not servable"):
        load_repository(model_path=tmp_path / "absent")


def test_exactly_one_source_is_needed(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="0 places"):
        load_repository()
    with pytest.raises(RepositoryError, match="2 places"):
        load_repository(model_path=tmp_path, config_path=tmp_path)
    with pytest.raises(RepositoryError, match="together with a config path"):
        load_repository(config_path=tmp_path, model_name="m")


@pytest.mark.parametrize("name", ["", "..", "../m", "a//b", "/a", "a/", "a/../b", "a\nb", "a\x00b", "\udc80", "."])
def test_a_name_that_cannot_be_sent_is_refused(name: str) -> None:
    with pytest.raises(RepositoryError, match="cannot be a model's name"):
        load_repository(model_path=MODELS / "sd", model_name=name)


def test_a_broken_graph_is_refused_with_its_file(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m", "node {")
    with pytest.raises(GraphError) as refusal:
        load_repository(model_repository_path=tmp_path)
    assert refusal.value.path == path


@pytest.mark.parametrize(("first", "second"), [("style", "style"), ("two", "x"), ("x", "one")])
def test_an_alias_that_leads_elsewhere_is_refused(tmp_path: Path, first: str, second: str) -> None:
    write_graph(tmp_path / "one", _lora(first), "a.safetensors")
    write_graph(tmp_path / "two", _lora(second), "a.safetensors")
    (sentence,) = load_repository(model_repository_path=tmp_path).failed.values()
    assert "already taken by" in sentence


def _config(folder: Path, config: Any) -> Path:
    path = folder / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_a_config_lists_models_and_graphs(tmp_path: Path) -> None:
    _model(tmp_path / "models" / "sd")
    write_graph(tmp_path / "flux")
    write_graph(tmp_path / "other", EXAMPLE).rename(tmp_path / "other" / "mine.pbtxt")
    config = {
        "model_config_list": [
            {"config": {"name": "sd", "base_path": "models/sd", "target_device": "GPU", "nireq": 1}},
            {"config": {"name": "org/absolute", "base_path": str(tmp_path / "flux")}},
        ],
        "mediapipe_config_list": [
            {"name": "flux"},
            {"name": "mine", "base_path": "other", "graph_path": "mine.pbtxt"},
            {"name": "index", "base_path": "models/sd"},
        ],
        "monitoring": {"metrics": {"enable": True}},
    }
    repository = load_repository(config_path=_config(tmp_path, config))
    assert {name: (graph.path, graph.models_path) for name, graph in repository.graphs.items()} == {
        "flux": (tmp_path / "flux" / "graph.pbtxt", tmp_path / "flux"),
        "index": (None, tmp_path / "models" / "sd"),
        "mine": (tmp_path / "other" / "mine.pbtxt", tmp_path / "other"),
        "org/absolute": (tmp_path / "flux" / "graph.pbtxt", tmp_path / "flux"),
        "sd": (None, tmp_path / "models" / "sd"),
    }


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "not JSON"),
        ("// comment\n{}", "not JSON"),
        ('{"model_config_list": [], "model_config_list": []}', "twice"),
        ("[" * 100_000, "too deeply"),
        ("[]", "not an object"),
        ({}, "nothing to serve"),
        ({"model_config_lists": []}, "model_config_lists: There is no such key"),
        ({"model_config_list": {}}, "model_config_list: This must be a list"),
        ({"model_config_list": [1]}, r"model_config_list\[0\]: This must be an object"),
        ({"model_config_list": [{}]}, r"model_config_list\[0\]: .*base_path"),
        ({"model_config_list": [{"config": {"base_path": "m"}}]}, r"model_config_list\[0\]\.config: name"),
        ({"model_config_list": [{"config": {"name": "m"}}]}, r"model_config_list\[0\]\.config: base_path"),
        ({"model_config_list": [{"config": {"name": 1, "base_path": "m"}}]}, "name must be given as text"),
        ({"model_config_list": [{"config": {"name": "m", "base_path": "z"}}]}, "z is not a folder"),
        ({"model_config_list": [{"config": {"name": "m", "base_path": "empty"}}]}, "not servable"),
        ({"mediapipe_config_list": [{"name": "m"}, {}]}, r"mediapipe_config_list\[1\]: name"),
        ({"mediapipe_config_list": [{"name": "z"}]}, "z is not a folder"),
        ({"mediapipe_config_list": [{"name": "m", "graph_path": "z.pbtxt"}]}, "z.pbtxt: There is no such file"),
        ({"mediapipe_config_list": [{"name": "m"}, {"name": "m"}]}, "'m' is given twice"),
        ({"mediapipe_config_list": [{"name": "../m", "base_path": "m"}]}, "cannot be a model's name"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(tmp_path: Path, config: Any, says: str) -> None:
    _model(tmp_path / "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises((RepositoryError, GraphError), match=says):
        load_repository(config_path=_config(tmp_path, config))


@pytest.mark.parametrize("key", ["model_config_list", "mediapipe_config_list"])
def test_a_config_with_an_empty_list_serves_nothing(tmp_path: Path, key: str) -> None:
    repository = load_repository(config_path=_config(tmp_path, {key: []}))
    assert (repository.graphs, repository.failed) == ({}, {})
    with pytest.raises(ModelNotFound, match="No model is served here"):
        repository.route(None)


def test_entries_of_other_tasks_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_graph(tmp_path / "pictures")
    write_graph(tmp_path / "llm", 'node { calculator: "HttpLLMCalculator" input_stream_handler { x: 1 } }')
    (tmp_path / "resnet" / "1").mkdir(parents=True)
    (tmp_path / "face.onnx").write_bytes(b"")
    config = {
        "model_config_list": [
            {"config": {"name": "resnet", "base_path": "resnet"}},
            {"config": {"name": "face", "base_path": "."}},
        ],
        "mediapipe_config_list": [{"name": "llm"}, {"name": "pictures", "subconfig": "subconfig.json"}],
    }
    repository = load_repository(config_path=_config(tmp_path, config))
    assert (_names(repository), repository.failed) == (["pictures"], {})
    for words in (
        "'resnet' is a classic model",
        "'face' is a classic model",
        "'llm' is a graph of HttpLLMCalculator",
        "mediapipe_config_list[1]: subconfig is ignored",
    ):
        assert words in caplog.text


def test_a_graph_of_another_task_below_a_folder_is_left_out(tmp_path: Path) -> None:
    write_graph(tmp_path / "pictures")
    write_graph(tmp_path / "llm", '# calculator: "ImageGenCalculator"\nnode { calculator: "HttpLLMCalculator" }')
    assert _names(load_repository(model_repository_path=tmp_path)) == ["pictures"]


def test_the_paths_of_a_graph_elsewhere_start_from_its_base_path(tmp_path: Path) -> None:
    _model(tmp_path / "m")
    graph_path = write_graph(tmp_path / "graphs", EXAMPLE)
    config = {
        "mediapipe_config_list": [
            {"name": "m", "graph_path": str(graph_path)},
            {"name": "up", "base_path": "m", "graph_path": "../graphs/graph.pbtxt"},
        ]
    }
    graphs = load_repository(config_path=_config(tmp_path, config)).graphs
    assert [graph.models_path for graph in graphs.values()] == [tmp_path / "m", tmp_path / "m"]


def test_an_absolute_graph_path_needs_no_folder_of_its_name(tmp_path: Path) -> None:
    _model(tmp_path / "m")
    graph_path = write_graph(tmp_path / "graphs", graph_text(f'models_path: "{tmp_path / "m"}"'))
    config = {"mediapipe_config_list": [{"name": "absent", "graph_path": str(graph_path)}]}
    assert load_repository(config_path=_config(tmp_path, config)).graphs["absent"].models_path == tmp_path / "m"


def test_an_empty_base_path_is_the_folder_of_the_name(tmp_path: Path) -> None:
    write_graph(tmp_path / "m")
    config = {"mediapipe_config_list": [{"name": "m", "base_path": ""}]}
    assert load_repository(config_path=_config(tmp_path, config)).graphs["m"].models_path == tmp_path / "m"


def test_a_model_that_cannot_be_read_does_not_take_the_others_down(tmp_path: Path) -> None:
    write_graph(tmp_path / "good")
    write_graph(tmp_path / "bad", "node {")
    config = {"mediapipe_config_list": [{"name": "good"}, {"name": "bad"}, {"name": "absent"}]}
    repository = load_repository(config_path=_config(tmp_path, config))
    assert _names(repository) == ["good"]
    assert f"{tmp_path / 'bad' / 'graph.pbtxt'}:1" in repository.failed["bad"]
    assert repository.failed["absent"].endswith(f"base_path: {tmp_path / 'absent'} is not a folder.")
    with pytest.raises(ServiceUnavailable, match="'bad' cannot be served now") as refusal:
        repository.route("bad")
    assert str(tmp_path) not in refusal.value.message
    with pytest.raises(InvalidRequest, match="model is required here"):
        repository.route(None)


def test_an_error_names_every_model_where_none_can_be_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_graph(tmp_path / name, "node {")
    with pytest.raises(RepositoryError, match=r"None of 2 models can be served: .*one.*two"):
        load_repository(model_repository_path=tmp_path)


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no such file"):
        load_repository(config_path=tmp_path)


def test_a_servable_is_its_name_and_its_files(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m")
    assert servables_below(tmp_path) == [Servable("m", tmp_path / "m", path)]
