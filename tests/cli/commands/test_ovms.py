"""The command line of OpenVINO Model Server: what each line becomes, and one that serves."""

import json
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from typer.core import TyperGroup

from cli.errors import UserError
from cli.main import app
from cli.ovms.flags import FLAGS, MODEL_SERVER_FLAGS, OWN_FLAGS, typed
from cli.ovms.line import read_line
from cli.ovms.translation import OvmsSurroundings, OvmsTranslation, translate
from cli.task_options import IMAGE_TASK
from config import VERSION
from tests.cli.cli_support import ROOT, Command, clean_environment
from tests.support.polling import wait_until

# Of src/cli_parser.cpp and src/graph_export/image_generation_graph_cli_parser.cpp, at Model Server 2026.4.
_OF_MODEL_SERVER = """
    help version port grpc_bind_address rest_port rest_bind_address rest_workers grpc_workers grpc_max_threads
    grpc_memory_quota grpc_channel_arguments log_level log_path file_system_poll_wait_seconds
    custom_node_resources_cleaner_interval_seconds cache_dir cpu_extension metrics_enable metrics_list trace_path
    verbose_response allowed_media_domains allowed_local_media_path allow_credentials allowed_origins allowed_methods
    allowed_headers api_key_file disable_input_count_validation config_path model_name model_path target_device
    plugin_config batch_size shape layout mean scale color_format precision model_version_policy nireq pull
    source_model model_repository_path overwrite_models weight-format extra_quantization_params gguf_filename task
    source_loras resolution max_resolution default_resolution num_images_per_prompt guidance_scale
    max_num_images_per_prompt default_num_inference_steps max_num_inference_steps num_streams list_models
    add_to_config remove_from_config configure
"""
OF_MODEL_SERVER = _OF_MODEL_SERVER.split()
SERVES = ["--rest_port", "8000", "--model_path", "P"]
ANYWHERE = "--rest_bind_address=0.0.0.0"


def translated(*line: str, around: OvmsSurroundings | None = None) -> OvmsTranslation:
    return translate(read_line(line), around or OvmsSurroundings())


def refusal(*line: str, around: OvmsSurroundings | None = None) -> str:
    with pytest.raises(UserError) as refused:
        translated(*line, around=around)
    return str(refused.value)


def test_every_flag_of_model_server_is_known_and_documented() -> None:
    assert {typed(name) for name in MODEL_SERVER_FLAGS} == {f"--{name}" for name in OF_MODEL_SERVER}
    page = (ROOT / "docs" / "ovms.md").read_text()
    table, others = page.partition("## Every flag")[2].split("These options of")
    assert set(re.findall(r"`(--[\w-]+)`", table.partition("\n| `--help")[2])) <= {typed(name) for name in FLAGS}
    assert [name for name in MODEL_SERVER_FLAGS if f"`{typed(name)}`" not in table] == []
    assert [name for name in OWN_FLAGS if f"`{typed(name)}`" not in others] == []


def test_the_commands_have_the_options_that_they_are_given() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name, flag in FLAGS.items():
        for words in flag.commands:
            command: Any = group
            for word in words.split():
                command = command.commands[word]
            is_argument = (name, words) == ("source_model", "pull")
            assert is_argument or any(f"--{name}" in option.opts for option in command.params), (name, words)


@pytest.mark.parametrize("name", FLAGS)
def test_each_flag_is_done_or_has_its_sentence(name: str) -> None:
    flag = FLAGS[name]
    chooses = name in {"help", "version", "pull", "configure", "list_models", "add_to_config", "remove_from_config"}
    assert [bool(flag.commands), bool(flag.said), bool(flag.refused), chooses].count(True) == 1
    if flag.said:
        value = [] if flag.kind == "switch" else ["1"]
        found = translated(*SERVES, typed(name), *value)
        assert found.words == ["serve", "--rest_port=8000", "--model_path=P", ANYWHERE]
        assert found.said == [f"{typed(name)} has no effect: {flag.said}"]
    elif flag.refused:
        assert refusal(*SERVES, typed(name), "x") == f"{typed(name)}: {flag.refused}"
    elif "serve" in flag.commands and name not in ("config_path", "source_model"):
        ending = "" if flag.kind == "switch" else f"={IMAGE_TASK if name == 'task' else 9}"
        assert f"--{name}{ending}" in translated(*SERVES, f"{typed(name)}{ending}").words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--rest-port=80 --model_path P --rest_bind_address ::1",
            "serve --rest_port=80 --model_path=P --rest_bind_address=::1",
        ),
        (
            "--rest_port 80 --config_path C --allow_credentials",
            f"serve --rest_port=80 --config_path=C --allow_credentials {ANYWHERE}",
        ),
        (
            "--rest_port 80 --config_path C --allow_credentials=false",
            f"serve --rest_port=80 --config_path=C {ANYWHERE}",
        ),
        (
            "--rest_port 80 --source_model O/N --task image_generation",
            f"serve --rest_port=80 --source_model=O/N --task=image_generation {ANYWHERE}",
        ),
        ("--pull --model_name O/N --model_repository_path R", "pull --model_repository_path=R -- O/N"),
        (
            "--pull --source_model O/N --num_streams 2 --overwrite_models",
            "pull --num_streams=2 --overwrite_models -- O/N",
        ),
        (
            "--pull --source_model O/N --weight-format int4 --extra_quantization_params --sym",
            "pull --weight_format=int4 --extra_quantization_params=--sym -- O/N",
        ),
        (
            "--rest_port 80 --source_model O/N --weight_format=fp16",
            f"serve --rest_port=80 --source_model=O/N --weight_format=fp16 {ANYWHERE}",
        ),
        ("--configure --model_path P --max_resolution 64x64", "configure --model_path=P --max_resolution=64x64"),
        (
            "--configure --model_path P --cache_dir /c --plugin_config {}",
            'configure --model_path=P --plugin_config={"CACHE_DIR": "/c"}',
        ),
        ("--pull --source_model O/N --cache_dir /c", 'pull --plugin_config={"CACHE_DIR": "/c"} -- O/N'),
        ("--rest_port 80 --model_path P --log_path F", f"serve --rest_port=80 --model_path=P --log_path=F {ANYWHERE}"),
        ("--list_models --model_repository_path R", "models list --model_repository_path=R"),
        (
            "--add_to_config --config_path C --model_name N --model_path P",
            "models add --config_path=C --model_path=P -- N",
        ),
        ("--remove_from_config --config_path C --model_name N", "models remove --config_path=C -- N"),
        ("--rest_port 80 --version", "--version"),
        ("--rest_port 80 -h", "ovms --help"),
    ],
)
def test_a_line_becomes_a_command(line: str, words: str) -> None:
    found = translated(*line.split())
    assert (" ".join(found.words), found.said) == (words, [])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--pull --source_model O/N --rest_port 80", "--rest_port has no effect: with --pull nothing is served"),
        ("--pull --source_model O/N --model_name M", "--model_name has no effect"),
        ("--model_path P", "Model Server would have no REST API then; this server has it, on port 8000"),
        ("--rest_port 80 --model_path P --log_level trace", "--log_level TRACE is DEBUG here"),
        ("--rest_port 80 --model_path P --target_device=", "graphs that name none run on CPU"),
        ("--rest_port 80 --port 90 --model_path P", "--port has no effect: this server has no gRPC"),
    ],
)
def test_what_changes_nothing_is_said(line: str, sentence: str) -> None:
    (said,) = translated(*line.split()).said
    assert sentence in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--max_number_images_per_prompt 2", "did you mean --max_num_images_per_prompt?"),
        ("--rest_port", "--rest_port needs a value"),
        ("--rest_port --model_path P", "--rest_port needs a value"),
        ("--rest_port x", "must be a whole number"),
        ("--metrics_enable=maybe", "must be true or false"),
        ("--metrics_enable true", "'true' follows no flag that takes a value"),
        ("--rest_port 0 --model_path P", "switches the REST API off"),
        ("--rest_port 80 --port 80 --model_path P", "--port and --rest_port are both 80"),
        ("--rest_port 80", "nothing says what is served"),
        ("--rest_port 80 --model_name N", "nothing says what is served"),
        ("--rest_port 80 --config_path C --model_path P", "--config_path and --model_path cannot be given together"),
        ("--pull", "--pull needs --source_model"),
        ("--pull --configure --model_path P", "cannot be given together"),
        ("--configure --model_path P --model_name N", "cannot be given together"),
        ("--configure", "--configure needs --model_path"),
        (
            "--configure --model_path P --cache_size 5 --task text_generation",
            "--task text_generation: this server draws",
        ),
        ("--rest_port 80 --tool_parser x --task=embeddings", "--task embeddings: this server draws images only"),
        ("--list_models --pull", "cannot be given together"),
        ("--add_to_config --task image_generation", "cannot be given together"),
        ("--list_models --add_to_config", "cannot be given together"),
        ("--remove_from_config --model_path P", "cannot be given together"),
        ("--remove_from_config --config_path C", "--remove_from_config needs --model_name"),
        ("--add_to_config --model_name N", "--add_to_config needs --config_path"),
    ],
)
def test_a_line_that_is_refused(line: str, sentence: str) -> None:
    assert sentence in refusal(*line.split())


def test_what_the_environment_says_is_not_set_again() -> None:
    around = OvmsSurroundings(models_folder=Path("/R"), sets_address=True, sets_port=True)
    assert translated("--log_level", "INFO", around=around) == OvmsTranslation(
        ["serve", "--log_level=INFO", "--model_repository_path=/R"], []
    )
    assert translated("--rest_port=80", around=OvmsSurroundings(sets_models=True)).words[:2] == [
        "serve",
        "--rest_port=80",
    ]
    assert translated("--pull", "--source_model=O/N", around=around).words[1] == "--model_repository_path=/R"
    assert translated("--list_models", around=around).words[2] == "--model_repository_path=/R"
    removed = translated("--remove_from_config", "--model_name=N", around=around)
    assert removed.words == ["models", "remove", "--config_path=/R/config.json", "--", "N"]
    assert "nothing says" in refusal("--model_name", "N", around=around)


def test_the_version(here: Command) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert here("--version").stdout == here("--rest_port", "80", "--version").stdout == f"imagegen-server {VERSION}\n"


def test_help_and_completion_stay_ours(here: Command) -> None:
    assert "models" in here("--help").stdout and here("-h").stdout == here("--help").stdout
    assert "Model Server" in here("ovms").stdout and here("--rest_port", "80", "--help").stdout == here("ovms").stdout


def test_a_name_without_a_model_is_refused(here: Command) -> None:
    done = here("serve", "--model_name", "dream")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--model_name dream: Nothing says which model has this name; give its folder" in done.stderr


def test_config_json_is_changed_and_listed(here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    for name in ("org/a", "b"):
        (models / name).mkdir(parents=True)
        (models / name / "model_index.json").write_text("{}")
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", str(models))
    assert here("--list_models").stdout == "b\norg/a\n"
    file = models / "config.json"
    kept = {"name": "llm", "base_path": "/llm", "subconfig": "s.json"}
    file.write_text(json.dumps({"mediapipe_config_list": [kept], "monitoring": {"metrics": {"enable": True}}}))
    assert here("--add_to_config", "--model_name", "org/a").stdout == f"org/a is added to {file}\n"
    added = {"config": {"name": "org/a", "base_path": "org/a"}}
    expected = {
        "mediapipe_config_list": [kept],
        "monitoring": {"metrics": {"enable": True}},
        "model_config_list": [added],
    }
    assert json.loads(file.read_text()) == expected
    assert here("models", "add", "org/a", "--config_path", str(models)).stdout == f"org/a is in {file}\n"
    taken = here("models", "add", "org/a", "--config_path", str(file), "--model_path", "b")
    assert taken.returncode == 2 and "has org/a already, for another folder; remove it first" in taken.stderr
    assert "cannot be added" in here("models", "add", "none", "--config_path", str(file)).stderr
    assert here("--remove_from_config", "--config_path", str(file), "--model_name", "llm").returncode == 0
    assert here("models", "list", "--config_path", str(file)).stdout == "org/a\n"
    assert json.loads(file.read_text()) == {**expected, "mediapipe_config_list": []}
    gone = here("models", "remove", "llm", "--config_path", str(file))
    assert gone.returncode == 2 and "has no model llm" in gone.stderr
    assert sorted(path.name for path in models.iterdir()) == ["b", "config.json", "org"]


def test_a_config_json_is_made(here: Command, tmp_path: Path) -> None:
    model = ROOT / "tests" / "models" / "sd"
    assert here("models", "add", "m", "--config_path", str(tmp_path), "--model_path", str(model)).returncode == 0
    listed = [{"config": {"name": "m", "base_path": str(model)}}]
    made = json.loads((tmp_path / "config.json").read_text())
    assert made == {"mediapipe_config_list": [], "model_config_list": listed}


def _loggers(lines: str) -> set[str]:
    return {line.split()[3].rstrip(":") for line in lines.splitlines()}


@pytest.mark.usefixtures("processes")
def test_a_line_of_model_server_serves(tmp_path: Path, free_port: int) -> None:
    file = tmp_path / "logs" / "ovms.log"
    line = f"--rest_port {free_port} --model_name dream --max_resolution 64x64 --port {free_port + 1} --metrics_enable"
    line = f"{line} --log_path {file}"
    model = ROOT / "tests" / "models" / "sd"
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *line.split(), "--model_path", str(model)],
            env=clean_environment(XDG_DATA_HOME=str(tmp_path), IMAGEGEN_WORKER__ENGINE="simulated"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        return "Ctrl-C stops" in log.read_text()

    try:
        wait_until(is_ready, deadline_s=90)
        url = f"http://127.0.0.1:{free_port}/v3/images/generations"
        asked = {"model": "dream", "prompt": "a fox", "num_inference_steps": 1}
        drawn = httpx2.post(url, json={**asked, "size": "64x64"}, timeout=60)
        assert drawn.status_code == 200 and drawn.json()["data"][0]["b64_json"]
        lines = file.read_text()
        assert {"cli.commands.api", "workers.app", "workers.process.runner"} <= _loggers(lines)
        file.rename(tmp_path / "ovms.log.1")
        httpx2.post(url, json={**asked, "size": "64x64"}, timeout=60).raise_for_status()
        wait_until(lambda: file.exists() and "workers.process.runner" in _loggers(file.read_text()), "a new file")
        assert set(lines.splitlines()) <= set(log.read_text().splitlines())
        refused = httpx2.post(url, json={**asked, "size": "72x72"}, timeout=60)
        assert refused.status_code == 400 and "64x64" in refused.json()["error"]["message"]
        assert "\novms_" in httpx2.get(f"http://127.0.0.1:{free_port}/metrics").text
        origin = httpx2.get(f"http://127.0.0.1:{free_port}/v3/models", headers={"Origin": "https://a.example"})
        assert "access-control-allow-origin" not in origin.headers
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    text = log.read_text()
    assert text.count("listens on 0.0.0.0 and needs no key") == 1
    assert text.count("imagegen: --port has no effect: this server has no gRPC, only REST.\n") == 1
