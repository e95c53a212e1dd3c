"""Every mistake a person can make at the command line: one sentence, exit code 2, no traceback."""

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.local.data_folder import locked_data_folder
from tests.cli.cli_support import imagegen, imagegen_here

Here = Callable[..., "subprocess.CompletedProcess[str]"]


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """The one sentence, after checking that it is one."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("imagegen: ")
    return lines[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs the command in this process, in an empty folder and without anybody's settings."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("IMAGEGEN_") or n == "REDIS_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def command(*args: str) -> "subprocess.CompletedProcess[str]":
        code = imagegen_here(*args)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return command


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
def test_missing_model_folder(command: str, tmp_path: Path, here: Here) -> None:
    missing = tmp_path / "missing"
    done = here(command, "--model_repository_path", str(missing), "--redis_url", "redis://127.0.0.1:1")
    assert str(missing) in complaint(done)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_broken_graph(command: str, broken_graph: Path) -> None:
    done = imagegen(command, "--model_path", str(broken_graph), REDIS_URL="redis://127.0.0.1:1")
    assert f"{broken_graph / 'graph.pbtxt'}:" in complaint(done)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["serve", "--rest-prot", "1"], "No such option: --rest-prot"),
        (["serve", "--rest_port", "many"], "--rest_port"),
        (["serve", "--rest_port", "70000"], "REST_PORT"),
        (["serve", "--log_level", "loud"], "LOG__LEVEL"),
        (["serve", "--rest_bind_address", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["serve", "--rest_bind_address", "not an address"], "--rest_bind_address"),
        (["dance"], "No such command 'dance'"),
        (["--nonsense"], "No such option: --nonsense"),
        (["api"], "REDIS_URL"),
        (["worker"], "REDIS_URL"),
        (["worker", "--redis_url", "redis://127.0.0.1:1", "--graph", "nope"], "there is no graph 'nope'"),
        (["generate"], "Missing argument"),
        (["generate", "x", "--mask", "m.png"], "--image"),
        (["generate", "x", "-o", "picture.gif"], ".webp"),
        (["generate", "x", "-o", "nowhere/picture.png"], "nowhere does not exist"),
        (["generate", "x", "--image", "missing.png"], "missing.png cannot be read"),
        (["generate", "x", "--url", "localhost:8000"], "http://"),
        (["generate", "x", "--url", "http://127.0.0.1:1"], "imagegen serve"),
    ],
)
def test_wrong_words(args: list[str], part: str, here: Here) -> None:
    assert part in complaint(here(*args))


def test_a_wrong_setting_in_the_environment(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEGEN_HTTP__REST_PORT", "many")
    assert "IMAGEGEN_HTTP__REST_PORT" in complaint(here("serve"))


@pytest.mark.usefixtures("processes")
def test_without_a_command_there_is_help() -> None:
    done = imagegen()
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


@pytest.mark.usefixtures("processes")
def test_a_data_directory_in_use(free_port: int, tmp_path: Path) -> None:
    with (tmp_path / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = imagegen("serve", "--rest_port", str(free_port), "--data_dir", str(tmp_path))
    assert "another imagegen serve uses this data directory" in complaint(done)


@pytest.mark.usefixtures("processes")
def test_a_data_directory_that_cannot_be(free_port: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = imagegen("serve", "--rest_port", str(free_port), "--data_dir", str(tmp_path / "file" / "data"))
    assert "--data_dir" in complaint(done)


def test_the_data_directory_is_private_and_free_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    for _ in range(2):
        with locked_data_folder(folder):
            assert folder.stat().st_mode & 0o777 == 0o700
