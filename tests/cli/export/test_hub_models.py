"""Models of PyTorch at Hugging Face: exported, pulled and served, with a stand-in of the Hub and of the converter."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.export.report import REPORT_FILE
from graphs.definition.reader import read_graph
from tests.cli.cli_support import clean_environment
from tests.support.hub import COMMIT, HubStandIn, hub_stand_in
from tests.support.polling import wait_until
from tests.support.service import IMAGEGEN, serving
from tests.support.torch_models import MODELS, write_converter, write_torch_model

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("processes")]
NAME = "org/dream"
# A conversion ends with a model that is loaded, which takes long on a machine that does other things.
LONGEST_S = 240
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in() as running:
        running.add(NAME, write_torch_model(tmp_path / "torch"))
        running.add("OpenVINO/ready", MODELS / "sd")
        write_converter(tmp_path / "data")
        yield running


def environment(hub: HubStandIn, tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "IMAGEGEN_DATA_DIR": str(tmp_path / "data"),
        **more,
    }


def run(hub: HubStandIn, tmp_path: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    settings = clean_environment(**environment(hub, tmp_path, **more))
    command = [*IMAGEGEN, *words]
    return subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_S)


def compressions(folder: Path) -> list[dict[str, object]]:
    """Return what the converter was asked for."""
    return [json.loads(line) for line in (folder / "plans.txt").read_text().splitlines()]


def test_a_model_is_pulled_converted_and_gets_its_graph(hub: HubStandIn, tmp_path: Path) -> None:
    words = ("pull", NAME, "--max_resolution", "64x64", "--weight-format", "int4")
    done = run(hub, tmp_path, *words, "--extra_quantization_params", "--sym --group-size -1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "data" / "models" / NAME
    assert str(read_graph(folder / "graph.pbtxt", NAME).max_resolution) == "64x64"
    report = json.loads((folder / REPORT_FILE).read_text())
    assert (report["source"], report["weight_format"], report["group_size"]) == (f"{NAME}@{COMMIT}", "int4", -1)
    assert [(one["sym"], one["group_size"], one["ratio"]) for one in compressions(folder)] == [(True, -1, 1.0)]
    assert "it is a model of PyTorch: 0.0 GiB are fetched, then it is converted to int4, with at least" in done.stderr
    assert f"{NAME}: pulled to {folder}" in done.stderr and "drawing a first picture" in done.stderr
    assert [path.name for path in folder.parent.iterdir()] == ["dream"], "what was fetched is removed"
    asked = len(hub.requests)
    again = run(hub, tmp_path, *words, "--extra_quantization_params", "--sym --group-size -1")
    assert (again.returncode, "changed nothing" in again.stderr, len(hub.requests)) == (0, False, asked)
    other = run(hub, tmp_path, "pull", NAME, "--weight-format", "int8")
    assert "--weight-format changed nothing: --overwrite_models fetches it anew" in other.stderr


def test_a_model_in_openvino_form_is_taken_as_it_is(hub: HubStandIn, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "pull", "OpenVINO/ready", "--weight-format", "int8")
    assert done.returncode == 0, done.stderr
    assert "OpenVINO/ready: --weight-format changed nothing: it is in OpenVINO form" in done.stderr
    refused = run(hub, tmp_path, "export", "OpenVINO/ready", "--output", "ready")
    assert refused.returncode == 2 and "in OpenVINO's form already: `imagegen pull OpenVINO/ready`" in refused.stderr


@pytest.mark.parametrize("command", [("pull", NAME), ("export", NAME), ("serve", "--source_model", NAME)], ids=str)
def test_words_that_need_a_data_set_are_refused_before_the_hub_is_asked(
    hub: HubStandIn, tmp_path: Path, free_port: int, command: tuple[str, ...]
) -> None:
    words = ("--extra_quantization_params", "--dataset conceptual_captions")
    done = run(hub, tmp_path, *command, *words, IMAGEGEN_HTTP__REST_PORT=str(free_port))
    assert (done.returncode, len(done.stderr.splitlines()), hub.requests) == (2, 1, [])
    assert "--dataset needs a data set" in done.stderr


def test_too_little_memory_or_room_is_refused_before_the_weights(hub: HubStandIn, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "export", NAME, "--memory_limit_gib", "1")
    assert done.returncode == 2
    assert "takes about 1.5 GiB of memory, and it may take 1.0; take a machine with more" in done.stderr
    assert UNET not in hub.sent
    done = run(hub, tmp_path, "export", NAME)
    assert done.returncode == 0, done.stderr
    assert len(hub.sent[UNET]) == 1


def test_export_from_the_hub_with_all_that_the_export_script_takes(hub: HubStandIn, tmp_path: Path) -> None:
    """The words of Model Server's export_model.py."""
    words = [
        *("export", "--source_model", NAME, "--model_repository_path", "models", "--model_name", "dream8"),
        *("--weight-format", "int8", "--config_file_path", "models/config.json", "--overwrite_models"),
        *("--target_device", "GPU", "--ov_cache_dir", "/cache", "--num_streams", "2", "--resolution", "64x64"),
        *("--guidance_scale", "7.5", "--num_images_per_prompt", "1", "--default_resolution", "64x64"),
        *("--default_num_inference_steps", "4", "--max_num_inference_steps", "8"),
    ]
    for _ in range(2):
        done = run(hub, tmp_path, *words)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "dream8"
    graph = read_graph(folder / "graph.pbtxt", "dream8")
    assert (graph.device, graph.default_num_inference_steps, graph.max_num_inference_steps) == (("GPU",), 4, 8)
    assert {"NUM_STREAMS": 2, "CACHE_DIR": "/cache"}.items() <= dict(graph.plugin_config).items()
    listed = json.loads((tmp_path / "models" / "config.json").read_text())["model_config_list"]
    assert listed == [{"config": {"name": "dream8", "base_path": "dream8"}}]
    assert done.stdout == f"serve it: imagegen serve --model_path {folder}\n"
    assert f"dream8 is in {tmp_path}/models/config.json" in done.stderr


def test_a_folder_of_the_name_wins(hub: HubStandIn, tmp_path: Path) -> None:
    write_torch_model(tmp_path / NAME)
    done = run(hub, tmp_path, "export", NAME)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{NAME}-int8-ov" / REPORT_FILE).is_file() and hub.requests == []
    assert not (tmp_path / f"{NAME}-int8-ov" / "graph.pbtxt").exists()


def test_killed_while_it_fetches_and_while_it_converts(hub: HubStandIn, tmp_path: Path) -> None:
    """The converter ends with its command, and each attempt goes on."""
    place = tmp_path / "data" / "models" / "org"
    waits = "(output.parent / 'at_the_end').touch(); import threading; threading.Event().wait(60)"
    write_converter(tmp_path / "data", waits)
    command = [*IMAGEGEN, "pull", NAME]

    def start() -> "subprocess.Popen[bytes]":
        settings = clean_environment(**environment(hub, tmp_path))
        return subprocess.Popen(command, env=settings, cwd=tmp_path, stderr=subprocess.DEVNULL)

    def kill(process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    hub.pause_s = 0.01
    process = start()
    wait_until(lambda: hub.begun[UNET], "it fetches the weights", deadline_s=LONGEST_S)
    kill(process)
    assert (place / ".dream.part" / "unet").is_dir() and not (place / "dream").exists()
    hub.pause_s = 0.0
    process = start()
    wait_until((place / "at_the_end").exists, "it converts", deadline_s=LONGEST_S)
    kill(process)
    wait_until(lambda: _locks_nothing(tmp_path), "the converter has ended")
    assert (place / ".dream.export" / "unet" / "proof.json").is_file()
    asked = len(hub.requests)
    write_converter(tmp_path / "data", "print('no JSON', flush=True)")
    done = run(hub, tmp_path, "pull", NAME)
    assert done.returncode == 0, done.stderr
    assert "of 4:" not in done.stderr, "a finished part is converted again"
    assert len(hub.requests) == asked, "what was fetched is fetched again"
    assert sorted(path.name for path in place.iterdir()) == ["at_the_end", "dream"]


def _locks_nothing(tmp_path: Path) -> bool:
    """Return whether no converter of this test runs."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return not any("tools.exporter" in line and str(tmp_path) in line for line in found.splitlines())


def test_served_under_its_name_and_again_without_the_network_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    words = ("--source_model", NAME, "--model_repository_path", str(tmp_path / "models"), "--weight-format", "int8")
    with hub_stand_in() as hub:
        hub.add(NAME, write_torch_model(tmp_path / "torch"))
        settings = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        write_converter(tmp_path / "service" / "data")
        with serving(tmp_path / "service", *words, environment=settings, deadline_s=LONGEST_S) as service:
            first = _drawn(service.client(), NAME)
    for path in (tmp_path / "service").rglob("python"):
        path.unlink()
    with serving(tmp_path / "service", *words, environment=settings, deadline_s=LONGEST_S) as service:
        assert _drawn(service.client(), NAME) == first


def _drawn(client: object, name: str) -> str:
    drawn = client.images.generate(model=name, prompt="a fox", size="64x64", extra_body={"rng_seed": 1})  # type: ignore[attr-defined]
    return str(drawn.data[0].b64_json)
