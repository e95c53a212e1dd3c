"""Every mistake a user can make at the command line ends with one sentence and exit code 2, without a traceback."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.cli.cli_support import Command, imagegen


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the sentence on standard error, after checking that it is the only output."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("imagegen: ")
    return lines[0]


@pytest.fixture
def broken_graph(tmp_path: Path) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "graph.pbtxt").write_text('input_stream: "HTTP_REQUEST_PAYLOAD:input"\nnode: {\n  nonsense\n}\n')
    return folder


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("command", ["serve", "api"])
def test_port_in_use(command: str, port_in_use: int, tmp_path: Path) -> None:
    done = imagegen(
        *(command, "--rest_port", str(port_in_use)),
        REDIS_URL="redis://127.0.0.1:1",
        XDG_DATA_HOME=str(tmp_path),
    )
    assert f"port {port_in_use} is in use" in complaint(done)
    assert "--rest_port" in done.stderr


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_missing_model_folder(command: str, tmp_path: Path, here: Command) -> None:
    missing = tmp_path / "missing"
    done = here(command, "--model_repository_path", str(missing), "--redis_url", "redis://127.0.0.1:1")
    assert str(missing) in complaint(done)


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_broken_graph(command: str, broken_graph: Path, here: Command) -> None:
    done = here(command, "--model_path", str(broken_graph), "--redis_url", "redis://127.0.0.1:1")
    assert f"{broken_graph / 'graph.pbtxt'}:" in complaint(done)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["serve", "--rest-prot", "1"], "No such option: --rest_prot"),
        (["serve", "--rest_port", "many"], "--rest_port"),
        (["serve", "--rest_port", "70000"], "REST_PORT"),
        (["serve", "--log_level", "loud"], "LOG__LEVEL"),
        (["serve", "--rest_bind_address", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["serve", "--rest_bind_address", "not an address"], "--rest_bind_address"),
        (["dance"], "No such command 'dance'"),
        (["--nonsense"], "--nonsense: there is no such flag"),
        (["api"], "REDIS_URL"),
        (["worker"], "REDIS_URL"),
        (["worker", "--redis_url", "redis://127.0.0.1:1", "--graph", "nope"], "there is no graph 'nope'"),
        (["generate"], "Missing argument"),
        (["generate", "x", "--mask", "m.png"], "--image"),
        (["generate", "x", "-o", "image.gif"], ".webp"),
        (["generate", "x", "-o", "nowhere/image.png"], "nowhere does not exist"),
        (["generate", "x", "--image", "missing.png"], "missing.png cannot be read"),
        (["generate", "x", "--url", "localhost:8000"], "http://"),
        (["generate", "x", "--url", "http://::1:8000"], "IPv6 is written in brackets, as [::1]:8000"),
        (["generate", "x", "--url", "http://127.0.0.1:1"], "imagegen serve"),
    ],
)
def test_wrong_arguments(args: list[str], part: str, here: Command) -> None:
    assert part in complaint(here(*args))


def test_a_wrong_setting_in_the_environment(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEGEN_HTTP__REST_PORT", "many")
    assert "IMAGEGEN_HTTP__REST_PORT" in complaint(here("serve"))


def test_without_a_command_there_is_help(here: Command) -> None:
    done = here()
    assert done.returncode == 2
    assert "serve" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("processes")
def test_a_redis_that_does_not_answer(free_port: int, tmp_path: Path) -> None:
    done = imagegen(
        *("serve", "--rest_port", str(free_port), "--data_dir", str(tmp_path)),
        REDIS_URL="redis://:secret@127.0.0.1:1/0",
    )
    assert "redis://:***@127.0.0.1:1/0 does not answer" in complaint(done)


def test_a_data_directory_in_use(
    free_port: int, tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.local.data_folder._RELEASED_WITHIN_S", 0.1)
    with (tmp_path / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = here("serve", "--rest_port", str(free_port), "--data_dir", str(tmp_path))
    assert "another imagegen serve uses this data directory" in complaint(done)


def test_a_data_directory_that_cannot_be_created(free_port: int, tmp_path: Path, here: Command) -> None:
    (tmp_path / "file").touch()
    done = here("serve", "--rest_port", str(free_port), "--data_dir", str(tmp_path / "file" / "data"))
    assert "--data_dir" in complaint(done)
