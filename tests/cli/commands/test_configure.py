"""`imagegen configure`: the graph.pbtxt that it writes, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from graphs.definition.graph import Graph, LoraMode
from graphs.definition.reader import read_graph
from graphs.resolution import Resolution
from tests.cli.cli_support import ROOT, Command, imagegen_here
from tests.graphs.definition.graph_files import EXAMPLE, graph_text, write_graph
from tests.support.ovms_graphs import read_as_model_server

DEMO = ROOT / "graphs" / "demo"
FUSED = 'lora_adapters { alias: "base" path: "base.safetensors" mode: FUSE }'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    for name in ("a", "b", "base"):
        (folder / f"{name}.safetensors").write_bytes(b"")
    return folder


def configure(model: Path, *args: str) -> Graph:
    assert imagegen_here("configure", "--model_path", str(model), *args) == 0
    read_as_model_server((model / "graph.pbtxt").read_text())
    return read_graph(model / "graph.pbtxt", model.name)


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert imagegen_here("configure", *args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1 and err.startswith("imagegen: ")
    return err


def test_a_folder_without_a_graph(model: Path, here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model)
    done = here("configure", "--model_path", ".")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (model / "graph.pbtxt").read_text() == EXAMPLE


def test_every_option(model: Path) -> None:
    graph = configure(
        model,
        *("--target_device", "GPU", "--max_resolution", "1024x768", "--default_resolution", "512x512"),
        *("--max_num_images_per_prompt", "4", "--default_num_inference_steps", "20"),
        *("--max_num_inference_steps", "30", "--plugin_config", '{"NUM_STREAMS": 2}'),
    )
    assert (graph.device, graph.max_resolution) == (("GPU",), Resolution(1024, 768))
    assert graph.default_resolution == Resolution(512, 512)
    assert (graph.max_num_images_per_prompt, graph.default_num_inference_steps) == (4, 20)
    assert (graph.max_num_inference_steps, graph.plugin_config) == (30, {"NUM_STREAMS": 2})


def test_a_static_shape_on_three_devices(model: Path) -> None:
    graph = configure(
        model,
        *("--target_device", "CPU GPU NPU", "--resolution", "512x512"),
        *("--num_images_per_prompt", "2", "--guidance_scale", "7.5"),
    )
    assert (graph.device, graph.resolution) == (("CPU", "GPU", "NPU"), (Resolution(512, 512),))
    assert (graph.num_images_per_prompt, graph.guidance_scale) == (2, 7.5)
    # Options not given stay; a default that was derived from a changed option changes with it.
    assert configure(model, "--resolution", "768x768").default_resolution == Resolution(768, 768)


EVERY_OPTION = (
    {
        "--target_device": "GPU",
        "--max_resolution": "1024x768",
        "--default_resolution": "512x512",
        "--max_num_images_per_prompt": str(2**64 - 1),
        "--default_num_inference_steps": "20",
        "--max_num_inference_steps": str(2**64 - 1),
        "--plugin_config": '{"CACHE_DIR": ""}',
        "--task": "image_generation",
        "--num_streams": "2",
        "--source_loras": "a=./a.safetensors:0.7,b=./b.safetensors,m=@a+@b:0.25",
    },
    {
        "--target_device": "CPU GPU NPU",
        "--resolution": "512x512",
        "--num_images_per_prompt": str(2**63 - 1),
        "--guidance_scale": "7.5",
        "--source_loras": "a=./a.safetensors:0.7,b=./b.safetensors,m=@a+@b",
    },
)


@pytest.mark.parametrize("options", EVERY_OPTION, ids=["dynamic", "static"])
def test_model_server_reads_what_every_option_writes(
    model: Path, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    write_graph(model, graph_text(f'models_path: "./" {FUSED}'))
    configure(model, *(word for option in options.items() for word in option))
    written = read_as_model_server((model / "graph.pbtxt").read_text())
    assert [adapter.alias for adapter in written.lora_adapters] == ["base", "a", "b"]


def test_streams_go_beside_other_device_options(model: Path) -> None:
    write_graph(model, graph_text("""models_path: "./" plugin_config: '{"CACHE_DIR": "/c", "NUM_STREAMS": 1}'"""))
    assert configure(model, "--num_streams", "3").plugin_config == {"CACHE_DIR": "/c", "NUM_STREAMS": 3}


def test_another_task_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--model_path", str(model), "--task", "text_generation")
    assert "--task text_generation: this server draws images only" in said


def test_these_are_all_options() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    named = {option for parameter in group.commands["configure"].params for option in parameter.opts}
    assert named - {"--help"} == {"--model_path", *(option for options in EVERY_OPTION for option in options)}


def test_options_not_given_stay_and_an_empty_text_removes_one(model: Path) -> None:
    write_graph(model, graph_text('models_path: "./" device: "GPU" max_resolution: "640x640"'))
    graph = configure(model, "--default_resolution", "512x512")
    assert (graph.device, graph.max_resolution) == (("GPU",), Resolution(640, 640))
    graph = configure(model, "--max_resolution", "", "--resolution", "512x512 768x768")
    assert graph.resolution == (Resolution(512, 512), Resolution(768, 768))


def test_adapters_replace_adapters_and_only_fused_ones_stay(model: Path) -> None:
    old = 'lora_adapters { alias: "old" path: "a.safetensors" }'
    write_graph(model, graph_text(f'models_path: "./" max_num_inference_steps: 30\n{FUSED}\n{old}'))
    graph = configure(model, "--source_loras", f"a={model}/a.safetensors:0.5,b={model}/b.safetensors,m=@a+@b:-2")
    assert [(a.alias, a.mode) for a in graph.lora_adapters] == [
        ("base", LoraMode.FUSE),
        ("a", LoraMode.DYNAMIC),
        ("b", LoraMode.DYNAMIC),
    ]
    assert [(c.adapter_alias, c.alpha) for c in graph.composite_lora_adapters[0].components] == [("a", 0.5), ("b", -2)]
    assert graph.max_num_inference_steps == 30
    assert 'path: "a.safetensors" alpha: 0.5 mode: DYNAMIC' in (model / "graph.pbtxt").read_text()
    assert configure(model, "--max_resolution", "640x640").lora_adapters == graph.lora_adapters
    assert [a.alias for a in configure(model, "--source_loras", "").lora_adapters] == ["base"]


def test_a_fused_adapter_that_is_given_again_is_not_fused(model: Path) -> None:
    write_graph(model, graph_text(f'models_path: "./"\n{FUSED}'))
    (adapter,) = configure(model, "--source_loras", f"base={model}/a.safetensors").lora_adapters
    assert (adapter.mode, adapter.path.name) == (LoraMode.DYNAMIC, "a.safetensors")


def test_adapters_whose_files_are_gone_can_be_replaced(model: Path) -> None:
    write_graph(model, graph_text('models_path: "./" lora_adapters { alias: "old" path: "gone.safetensors" }'))
    assert len(configure(model, "--source_loras", f"a={model}/a.safetensors").lora_adapters) == 1


def test_on_the_npu_adapters_are_static(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npu = ("--target_device", "NPU", "--resolution", "512x512")
    two = f"a={model}/a.safetensors:0.5,b={model}/b.safetensors"
    err = refused(capsys, "--model_path", str(model), *npu, "--source_loras", two)
    assert "source_loras: 2 STATIC adapters (a, b)" in err and "composite" in err
    assert not (model / "graph.pbtxt").exists()
    graph = configure(model, *npu, "--source_loras", f"{two},m=@a+@b:0.7")
    assert {adapter.mode for adapter in graph.lora_adapters} == {LoraMode.STATIC}
    assert graph.compiled_alphas == {"a": 0.5, "b": 0.7}


def test_a_file_that_defines_the_same_graph_is_left_as_it_is(model: Path) -> None:
    written = f"# by hand\n{EXAMPLE}"
    (model / "graph.pbtxt").write_text(written)
    configure(model, "--max_resolution", "4096x4096")
    assert (model / "graph.pbtxt").read_text() == written


def test_no_other_file_is_left_in_the_folder(model: Path) -> None:
    before = {path.name for path in model.iterdir()}
    configure(model)
    assert {path.name for path in model.iterdir()} == before | {"graph.pbtxt"}


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--max_resolution", "(4096x4096)"], "max_resolution: '(4096x4096)' is not a resolution"),
        (["--resolution", "512x512", "--max_resolution", "512x512"], "cannot be used together"),
        (["--default_resolution", "4097x256"], "exceeds max_resolution"),
        (["--num_images_per_prompt", "2"], "needs exactly one resolution"),
        (["--guidance_scale", "nan", "--resolution", "512x512"], "guidance_scale must be"),
        (["--target_device", "NPU"], "needs exactly one resolution"),
        (["--target_device", "CPU GPU"], "names 2 devices"),
        (["--plugin_config", "NUM_STREAMS=2"], "plugin_config: This is not JSON"),
        (["--max_num_images_per_prompt", "0"], "--max_num_images_per_prompt"),
        (["--default_num_inference_steps", "-1"], "--default_num_inference_steps"),
        (["--max_num_inference_steps", "18446744073709551616"], "--max_num_inference_steps"),
        (["--num_images_per_prompt", "9223372036854775808"], "--num_images_per_prompt"),
        (["--default_num_inference_steps", "101"], "exceeds max_num_inference_steps"),
        (["--source_loras", "a"], "source_loras: entry 1, 'a'"),
        (["--source_loras", "model=./a.safetensors"], "source_loras: 'model' is already the name"),
        (["--source_loras", "a=./missing.safetensors"], "adapter 'a': there is no file"),
    ],
)
def test_a_wrong_option_is_refused(
    args: list[str], part: str, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    assert part in refused(capsys, "--model_path", str(model), *args)
    assert not (model / "graph.pbtxt").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "model_index.json" in refused(capsys, "--model_path", str(tmp_path))
    assert "--model_path" in refused(capsys)


def test_a_graph_that_cannot_be_read(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "graph.pbtxt").write_text("nonsense {")
    assert f"{model / 'graph.pbtxt'}:1: nonsense" in refused(capsys, "--model_path", str(model))
    assert (model / "graph.pbtxt").read_text() == "nonsense {"


def test_a_folder_that_cannot_be_written(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.models.source_adapters.os.replace", full)
    assert "graph.pbtxt cannot be written: No space left" in refused(capsys, "--model_path", str(model))


def test_the_bundled_model_can_be_configured_in_a_copy(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "demo")
    graph = configure(tmp_path / "demo", "--default_num_inference_steps", "5")
    assert (graph.default_num_inference_steps, graph.default_resolution) == (5, Resolution(128, 128))
