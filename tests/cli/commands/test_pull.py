"""`imagegen pull` and `imagegen serve --source_model`, with a stand-in of the Hub."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphs.definition.reader import read_graph
from tests.cli.cli_support import ROOT, clean_environment, imagegen
from tests.support.connect_proxy import connect_proxy
from tests.support.hub import HubStandIn, hub_stand_in
from tests.support.polling import wait_until
from tests.support.service import serving
from tests.workers.sources.sources_support import TLS_CERTIFICATE, TLS_KEY, TLS_NAME

NAME = "OpenVINO/tiny-sd-int8-ov"
MODEL = ROOT / "tests" / "models" / "sd"
BIN = "unet/openvino_model.bin"


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    with hub_stand_in() as running:
        running.add(NAME, MODEL)
        running.add("org/tiny-sd-turbo-4step", MODEL)
        yield running


def environment(hub: HubStandIn, tmp_path: Path) -> dict[str, str]:
    return clean_environment(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), XDG_DATA_HOME=str(tmp_path / "data"))


def pull(hub: HubStandIn, tmp_path: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return imagegen("pull", *args, cwd=tmp_path, **environment(hub, tmp_path))


@pytest.mark.usefixtures("processes")
def test_a_model_is_pulled_and_its_graph_written(hub: HubStandIn, tmp_path: Path) -> None:
    options = ("--model_repository_path", "models", "--max_resolution", "64x64", "--target_device", "GPU")
    done = pull(hub, tmp_path, NAME, *options)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / NAME
    graph = read_graph(folder / "graph.pbtxt", NAME)
    assert (str(graph.max_resolution), graph.device, graph.default_resolution) == ("64x64", ("GPU",), None)
    assert f"{NAME}: pulled to {folder}" in done.stderr
    assert f"serve it: imagegen serve --source_model {NAME} --model_repository_path {tmp_path}/models\n" == done.stdout
    assert pull(hub, tmp_path, NAME, *options).returncode == 0, "a start that pulls each time changes nothing"
    again = pull(hub, tmp_path, NAME, *options[:2], "--max_resolution", "128x128")
    assert again.returncode == 2
    assert "graph.pbtxt, which stays as it is, so --max_resolution cannot be set: `imagegen configure" in again.stderr
    assert pull(hub, tmp_path, NAME, *options[:2]).returncode == 0


@pytest.mark.usefixtures("processes")
def test_a_distilled_model_gets_its_steps_and_guidance(hub: HubStandIn, tmp_path: Path) -> None:
    name = "org/tiny-sd-turbo-4step"
    assert pull(hub, tmp_path, name).returncode == 0
    folder = tmp_path / "data" / "imagegen" / "models" / name
    shown = imagegen("validate", str(folder), cwd=tmp_path)
    assert '"default_num_inference_steps": 4' in shown.stdout
    assert '"value": 0.0' in shown.stdout and f"{folder / 'imagegen.toml'}:2" in shown.stdout


@pytest.mark.usefixtures("processes")
def test_through_an_https_proxy(tmp_path: Path) -> None:
    """Listing, small files and those of the CDN: all come through the proxy, by the names that it alone can find."""
    chain = tmp_path / "chain.pem"
    chain.write_text(TLS_CERTIFICATE + TLS_KEY)
    with hub_stand_in(chain, TLS_NAME) as hub, connect_proxy() as (proxy, asked):
        hub.add(NAME, MODEL)
        settings = {**environment(hub, tmp_path), "HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(chain), "NO_PROXY": ""}
        done = imagegen("pull", NAME, "--model_repository_path", "models", cwd=tmp_path, **settings)
        assert done.returncode == 0, done.stderr
        assert {address.partition(":")[0] for address in asked} == {TLS_NAME}
        assert len(set(asked)) == 2
    refused = imagegen("pull", "org/other", cwd=tmp_path, **settings)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert f"through the proxy {proxy}" in refused.stderr


@pytest.mark.usefixtures("processes")
def test_an_error_is_one_sentence(hub: HubStandIn, tmp_path: Path) -> None:
    done = pull(hub, tmp_path, "org/none")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "has no repository org/none" in done.stderr
    asked = len(hub.requests)
    done = pull(hub, tmp_path, NAME, "--max_resolution", "64")
    assert (done.returncode, len(done.stderr.splitlines()), len(hub.requests)) == (2, 1, asked)
    assert "max_resolution: '64' is not a resolution" in done.stderr


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("command", [("pull", NAME), ("serve", "--source_model", NAME)], ids=["pull", "serve"])
def test_adapters_are_looked_at_before_the_download(
    hub: HubStandIn, tmp_path: Path, free_port: int, command: tuple[str, ...]
) -> None:
    """Which may take an hour."""
    lora = ("--source_loras", "fox=./none.safetensors")
    done = imagegen(
        *command, *lora, cwd=tmp_path, IMAGEGEN_HTTP__REST_PORT=str(free_port), **environment(hub, tmp_path)
    )
    assert (done.returncode, len(done.stderr.splitlines()), hub.requests) == (2, 1, [])
    assert "adapter 'fox': there is no file" in done.stderr


@pytest.mark.usefixtures("processes")
def test_the_folder_of_model_servers_variable_is_that_of_every_command(hub: HubStandIn, tmp_path: Path) -> None:
    named = {**environment(hub, tmp_path), "OVMS_MODEL_REPOSITORY_PATH": str(tmp_path / "of_ovms")}
    assert imagegen("pull", NAME, cwd=tmp_path, **named).returncode == 0
    assert (tmp_path / "of_ovms" / NAME / "graph.pbtxt").is_file()
    assert imagegen("models", "list", cwd=tmp_path, **named).stdout == f"{NAME}\n"


@pytest.mark.usefixtures("processes")
def test_ctrl_c_says_that_it_goes_on(hub: HubStandIn, tmp_path: Path) -> None:
    hub.pause_s = 0.05
    command = [sys.executable, "-P", "-m", "cli", "pull", NAME]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, env=environment(hub, tmp_path), cwd=tmp_path, stderr=said)
        wait_until(lambda: hub.bytes_written > 50_000, "it fetches")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "the same command goes on from there" in (tmp_path / "said").read_text()


@pytest.mark.usefixtures("processes")
def test_served_under_its_name_and_again_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    command = ("--source_model", NAME, "--model_repository_path", str(tmp_path / "models"), "--max_resolution", "64x64")
    home = {"HF_HOME": str(tmp_path / "hf")}
    with hub_stand_in() as hub:
        hub.add(NAME, MODEL)
        url = hub.url
        with serving(tmp_path, *command, environment={**home, "HF_ENDPOINT": url}) as service:
            client = service.client()
            assert next(iter(client.models.list())).id == NAME
            drawn = client.images.generate(model=NAME, prompt="a fox", size="64x64", extra_body={"rng_seed": 1})
            first = drawn.data[0].b64_json if drawn.data else ""
            refused = service.http.post("/v3/images/generations", json={"prompt": "a", "size": "72x72"})
            assert refused.status_code == 400 and "64x64" in refused.text
    # Nothing answers at this address any more.
    options = (*command[:4], "--max_resolution", "128x128")
    with serving(tmp_path, *options, environment={**home, "HF_ENDPOINT": url}) as service:
        drawn = service.client().images.generate(
            model="gpt-image-1", prompt="a fox", size="64x64", extra_body={"rng_seed": 1}
        )
        assert drawn.data and drawn.data[0].b64_json == first
        assert service.http.post("/v3/images/generations", json={"prompt": "a", "size": "72x72"}).status_code == 200
    assert str(read_graph(tmp_path / "models" / NAME / "graph.pbtxt", NAME).max_resolution) == "64x64"


@pytest.mark.thorough
@pytest.mark.usefixtures("processes")
def test_killed_twenty_times_it_goes_on_from_the_bytes_on_disk(hub: HubStandIn, tmp_path: Path) -> None:
    """A killed process loses what it had not written: the chunk on its way. All that is on disk is kept."""
    chance = random.Random(7)
    stage = tmp_path / "models" / "OpenVINO" / ".tiny-sd-int8-ov.part"
    command = [sys.executable, "-P", "-m", "cli", "pull", NAME, "--model_repository_path", str(tmp_path / "models")]
    hub.pause_s = 0.002
    went_on = 0
    for _ in range(20):
        wanted = hub.bytes_written + chance.randrange(20_000, 80_000)
        process = subprocess.Popen(command, env=environment(hub, tmp_path), cwd=tmp_path, stderr=subprocess.DEVNULL)
        here = {name: size for name, size in _parts(stage).items() if size}
        begun = {name: len(hub.begun[name]) for name in here}
        wait_until(lambda wanted=wanted: hub.bytes_written >= wanted, "it fetched some more")  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, size in here.items():
            starts = hub.begun[name][begun[name] :]
            assert starts[:1] in ([], [size]), f"{name} went on at {starts[0]} of {size} bytes"
            went_on += bool(starts)
    assert went_on > 10
    hub.pause_s = 0.0
    assert subprocess.run(command, env=environment(hub, tmp_path), cwd=tmp_path, timeout=60).returncode == 0
    folder = tmp_path / "models" / NAME
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    for path in (path for path in MODEL.rglob("*") if path.is_file()):
        assert (folder / path.relative_to(MODEL)).read_bytes() == path.read_bytes()


def _parts(stage: Path) -> dict[str, int]:
    """Return the sizes of the files that are partly here, by their names in the repository."""
    found = stage.rglob("*.part")
    return {path.relative_to(stage).as_posix().removesuffix(".part"): path.stat().st_size for path in found}
