"""`imagegen serve --source_loras`, up to the graph.pbtxt and the settings that the service is started with."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.local import local_service
from cli.options import repository_from
from config.settings import Settings
from graphs.definition.graph import LoraMode
from graphs.definition.reader import read_graph
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import imagegen_here
from tests.graphs.definition.graph_files import EXAMPLE, MODELS, graph_text
from tests.support.ovms_graphs import read_as_model_server
from tests.workers.sources.sources_support import FileServer, Page, adapter_bytes, file_server

BODY = adapter_bytes()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: int) -> list[Settings]:
    """The settings of every service that would have been started, without settings from the environment."""
    found: list[Settings] = []

    class NotStarted:
        def __init__(self, settings: Settings, *_: Any) -> None:
            found.append(settings)

        def run(self) -> None:
            """Start nothing."""

    for name in [n for n in os.environ if n.startswith(("IMAGEGEN_", "HF_", "REDIS_URL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IMAGEGEN_HTTP__REST_PORT", str(free_port))
    monkeypatch.setenv("IMAGEGEN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(local_service, "LocalService", NotStarted)
    monkeypatch.setattr("cli.commands.serve.configure_logging", lambda *_, **__: None)
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, started: list[Settings]) -> Iterator[FileServer]:
    with file_server() as running:
        running.pages["/a.safetensors"] = Page(BODY)
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "sd", folder, ignore=shutil.ignore_patterns("*.bin", "*.xml", "loras"))
    (folder / "graph.pbtxt").write_text(EXAMPLE)
    return folder


@pytest.fixture(autouse=True)
def _read_by_model_server(tmp_path: Path) -> Iterator[None]:
    """Every graph.pbtxt that is there after a test is one that OpenVINO Model Server reads."""
    yield
    for path in tmp_path.rglob("graph.pbtxt"):
        read_as_model_server(path.read_text())


def serve(*args: str) -> int:
    return imagegen_here("serve", *args)


def test_hub_url_local_and_a_blend(
    model: Path, server: FileServer, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "*")
    server.add_repository({"style.safetensors": BODY})
    (tmp_path / "own.safetensors").write_bytes(BODY)
    sources = f"hub=org/repo:0.8,web={server.url}/a.safetensors,own={tmp_path}/own.safetensors,mix=@hub+@web:0.5"
    for _ in range(2):  # the second time nothing is downloaded
        assert serve("--model_path", str(model), "--source_loras", sources) == 0
    assert server.paths().count("/a.safetensors") == 1
    written = (model / "graph.pbtxt").read_text()
    lines = [line.strip() for line in written.splitlines() if "lora" in line]
    assert lines == [
        'lora_adapters { alias: "hub" path: "loras/org/repo/style.safetensors" alpha: 0.8 mode: DYNAMIC }',
        'lora_adapters { alias: "web" path: "loras/web/a.safetensors" mode: DYNAMIC }',
        f'lora_adapters {{ alias: "own" path: "{tmp_path}/own.safetensors" mode: DYNAMIC }}',
        'composite_lora_adapters { alias: "mix" components { adapter_alias: "hub" }'
        ' components { adapter_alias: "web" alpha: 0.5 } }',
    ]
    routes = [route.model for route in repository_from(started[-1]).routes()]
    assert routes == ["model", "hub", "web", "own", "mix"]
    assert started[-1].repository.model_path == model


def test_sources_as_they_are_copied_from_a_browser(
    model: Path, server: FileServer, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download of Civitai, a page of Hugging Face, a query, a file address, and a name with a comma."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("IMAGEGEN_DOWNLOADS__CIVITAI_ENDPOINT", server.url)
    monkeypatch.setenv("CIVITAI_TOKEN", "civitai-hush")
    server.add_repository({"style.safetensors": BODY})
    ink = {"Content-Disposition": 'attachment; filename="ink style.safetensors"'}
    server.pages["/api/download/models/12345"] = Page(BODY, headers=ink)
    (tmp_path / "own, really.safetensors").write_bytes(BODY)
    sources = (
        f"ink={server.url}/api/download/models/12345?type=Model&format=SafeTensor:0.8,"
        "page=https://huggingface.co/org/repo/blob/main/style.safetensors,"
        f"web={server.url}/a.safetensors?download=true, own={tmp_path}/own, really.safetensors:0.5,"
        f"mix=@ink+@own"
    )
    for _ in range(2):
        assert serve("--model_path", str(model), "--source_loras", sources) == 0
    graph = read_graph(model / "graph.pbtxt", "model")
    names = {adapter.alias: (adapter.path.name, adapter.alpha) for adapter in graph.lora_adapters}
    assert names == {
        "ink": ("ink style.safetensors", 0.8),
        "page": ("style.safetensors", 1.0),
        "web": ("a.safetensors", 1.0),
        "own": ("own, really.safetensors", 0.5),
    }
    assert server.requests[0][2]["authorization"] == "Bearer civitai-hush"
    assert len(server.paths()) == 3
    assert "hush" not in (model / "graph.pbtxt").read_text()


def test_the_rest_of_a_hand_written_graph_stays(model: Path, server: FileServer, started: list[Settings]) -> None:
    options = 'models_path: "./" resolution: "512x512" device: "NPU" plugin_config: \'{"NUM_STREAMS": 2}\''
    (model / "graph.pbtxt").write_text(graph_text(options))
    before = read_graph(model / "graph.pbtxt", "model")
    assert serve("--model_path", str(model), "--source_loras", f"web={server.url}/a.safetensors") == 0
    after = read_graph(model / "graph.pbtxt", "model")
    assert after.model_copy(update={"lora_adapters": ()}) == before
    assert [adapter.mode for adapter in after.lora_adapters] == [LoraMode.STATIC]


def _with_own_adapters(model: Path) -> None:
    (model / "own.safetensors").write_bytes(BODY)
    (model / "other.safetensors").write_bytes(BODY)
    entries = """
    lora_adapters { alias: "own" path: "own.safetensors" alpha: 0.8 }
    lora_adapters { alias: "base" path: "other.safetensors" mode: FUSE }
    composite_lora_adapters { alias: "blend" components { adapter_alias: "own" } }"""
    (model / "graph.pbtxt").write_text(graph_text(f'models_path: "./" {entries}'))


def test_adapters_are_added_to_those_of_the_graph(
    model: Path, server: FileServer, started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    _with_own_adapters(model)
    web = f"web={server.url}/a.safetensors"
    downloaded = f"adapter web: {model}/loras/web/a.safetensors\n"
    for said in (downloaded, ""):  # at the next start, the same alias with the same source is the same adapter
        assert serve("--model_path", str(model), "--source_loras", f"{web},both=@own+@web:0.5") == 0
        assert capsys.readouterr().err == said
        graph = read_graph(model / "graph.pbtxt", "model")
        assert [(a.alias, a.alpha, a.mode) for a in graph.lora_adapters] == [
            ("own", 0.8, LoraMode.DYNAMIC),
            ("base", 1.0, LoraMode.FUSE),
            ("web", 1.0, LoraMode.DYNAMIC),
        ]
        assert [composite.alias for composite in graph.composite_lora_adapters] == ["blend", "both"]
    assert serve("--model_path", str(model), "--source_loras", f"own={model}/own.safetensors") == 0
    assert read_graph(model / "graph.pbtxt", "model") == graph


def test_what_changes_of_the_graphs_adapters_is_said(
    model: Path, started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    _with_own_adapters(model)
    own = f"own={model}/own.safetensors"
    assert serve("--model_path", str(model), "--source_loras", f"{own}:0.5,blend=@own") == 0
    assert capsys.readouterr().err.splitlines() == [
        "--source_loras: own has the strength 0.5 now, and had 0.8 in graph.pbtxt.",
        "--source_loras: blend is @own:0.5 now, and was @own:0.8 in graph.pbtxt.",
    ]
    assert read_graph(model / "graph.pbtxt", "model").lora_adapters[0].alpha == 0.5


@pytest.mark.parametrize(
    ("sources", "where", "part"),
    [
        ("own={}/other.safetensors", "lora_adapters[0].alias", "'own' is {0}/own.safetensors, and --source_loras"),
        ("x={}/other.safetensors,own=@x", "lora_adapters[0].alias", "gives this name to a blend; choose another alias"),
        ("base={}/other.safetensors", "lora_adapters[1].alias", "'base' is merged into the model (FUSE), and"),
        ("blend={}/own.safetensors", "composite_lora_adapters[0].alias", "'blend' is a blend, and --source_loras"),
    ],
)
def test_an_alias_that_means_something_else_in_the_graph_is_refused(
    sources: str, where: str, part: str, model: Path, started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    _with_own_adapters(model)
    before = (model / "graph.pbtxt").read_text()
    line = next(n for n, text in enumerate(before.splitlines(), 1) if text.strip().startswith(where.split("[")[0]))
    line += "[1]" in where
    assert serve("--model_path", str(model), "--source_loras", sources.format(model)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"imagegen: {model}/graph.pbtxt:{line}: {where}: ") and len(err.splitlines()) == 1
    assert part.format(model) in err
    assert (model / "graph.pbtxt").read_text() == before and started == []


def test_a_folder_without_a_graph_gets_one(model: Path, server: FileServer, started: list[Settings]) -> None:
    (model / "graph.pbtxt").unlink()
    sources = f"web={server.url}/a.safetensors"
    assert serve("--model_repository_path", str(model), "--target_device", "GPU", "--source_loras", sources) == 0
    graph = read_graph(model / "graph.pbtxt", "model")
    assert graph.device == ("GPU",) and graph.lora_adapters[0].alias == "web"
    assert started[-1].repository.model_repository_path == model


def test_the_only_model_of_a_config(model: Path, server: FileServer, started: list[Settings], tmp_path: Path) -> None:
    config = {"mediapipe_config_list": [{"name": "m", "base_path": str(model)}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path = str(tmp_path / "config.json")
    assert serve("--config_path", path, "--source_loras", f"web={server.url}/a.safetensors") == 0
    assert [route.model for route in repository_from(started[-1]).routes()] == ["m", "web"]


def test_the_bundled_model_is_not_written_to(server: FileServer, started: list[Settings], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundled_model_path().rglob("*")}
    assert serve("--source_loras", f"web={server.url}/a.safetensors") == 0
    assert {path: path.stat().st_mtime_ns for path in bundled_model_path().rglob("*")} == before
    (graph,) = repository_from(started[-1]).graphs.values()
    folder = tmp_path / "data" / "graphs" / "demo"
    assert (graph.name, graph.path, graph.models_path) == ("demo", folder / "graph.pbtxt", bundled_model_path())
    assert [adapter.alias for adapter in graph.lora_adapters] == ["outline", "stripes", "web"]
    assert graph.lora_adapters[2].path == folder / "loras" / "web" / "a.safetensors"
    assert str(graph.default_resolution) == "128x128"


def test_a_folder_that_may_not_be_written_to(
    model: Path, server: FileServer, started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **_: not (path == model and mode & os.W_OK) and real(path, mode)
    )
    repository = ("--model_repository_path", str(model), "--model_name", "org/style")
    assert serve(*repository, "--source_loras", f"web={server.url}/a.safetensors") == 0
    assert (model / "graph.pbtxt").read_text() == EXAMPLE
    assert not (model / "loras").exists()
    (graph,) = repository_from(started[-1]).graphs.values()
    assert (graph.name, graph.models_path) == ("org/style", model)
    assert graph.path == tmp_path / "data" / "graphs" / "org" / "style" / "graph.pbtxt"


@pytest.mark.parametrize(
    ("sources", "part"),
    [
        ("", "source_loras: entry 1 is empty"),
        ("a=o/r@x.bin", "must end in .safetensors"),
        ("a=s3://bucket/x.safetensors", "presigned"),
        ("a=o/r;b=o/s", "separated by commas, not by ';'"),
        ("a=./missing.safetensors", "adapter 'a': there is no file"),
        ("a=http://127.0.0.1:1/a.safetensors", "127.0.0.1 cannot be reached"),
        ("model=/dev/null.safetensors", "there is no file"),
    ],
)
def test_a_wrong_source_is_one_sentence_and_nothing_starts(
    sources: str, part: str, model: Path, started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve("--model_path", str(model), "--source_loras", sources) == 2
    out, err = capsys.readouterr()
    assert part in err and err.startswith("imagegen: ") and len(err.splitlines()) == 1 and out == ""
    assert started == []
    assert (model / "graph.pbtxt").read_text() == EXAMPLE


def test_several_models(
    model: Path, started: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model, tmp_path / "other")
    assert serve("--model_repository_path", str(tmp_path), "--source_loras", "a=/x.safetensors") == 2
    err = capsys.readouterr().err
    assert "for a single model" in err and "model, other" in err and "--model_path" in err
    assert started == []


def test_offline_with_what_is_there(
    model: Path, started: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ("--model_path", str(model), "--source_loras", "style=org/repo")
    assert serve(*arguments) == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
    present = model / "loras" / "org" / "repo" / "style.safetensors"
    present.parent.mkdir(parents=True)
    present.write_bytes(BODY)
    assert serve(*arguments) == 0
    assert read_graph(model / "graph.pbtxt", "model").lora_adapters[0].path == present


def test_without_the_option_nothing_is_written(model: Path, started: list[Settings], tmp_path: Path) -> None:
    assert serve("--model_path", str(model)) == 0
    assert (model / "graph.pbtxt").read_text() == EXAMPLE
    assert not (tmp_path / "data" / "graphs").exists()


def test_options_of_all_models_are_not_lost_silently(
    server: FileServer, started: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundled model's folder is not written to, and beside the other graph.pbtxt that file would not be read."""
    config = {"model_config_list": [{"config": {"name": "demo", "base_path": str(bundled_model_path())}}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "imagegen.toml").write_text("default_guidance_scale = 3")
    assert serve("--config_path", str(tmp_path / "config.json"), "--source_loras", f"x={server.url}/a.safetensors") == 2
    assert (
        f"the changed graph.pbtxt would stand where {tmp_path / 'imagegen.toml'} is not read" in capsys.readouterr().err
    )
    assert started == []
