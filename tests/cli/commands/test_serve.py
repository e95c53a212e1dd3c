"""`imagegen serve` as a user runs it: it gets ready, its printed command works, Ctrl-C leaves no process."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.cli_support import clean_environment, imagegen, is_gone
from tests.support.images import pixels
from tests.support.polling import wait_until


def children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in children(child)]


def serve(tmp_path: Path, port: int, *args: str, **extra: str) -> "subprocess.Popen[bytes]":
    """Start it with the bundled model, and return when it has printed that it is ready."""
    out = tmp_path / "out"
    with out.open("wb") as stdout, (tmp_path / "err").open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "serve", *args],
            env=clean_environment(XDG_DATA_HOME=str(tmp_path), IMAGEGEN_HTTP__REST_PORT=str(port), **extra),
            cwd=tmp_path,
            stdout=stdout,
            stderr=stderr,
        )

    def is_ready() -> bool:
        assert process.poll() is None, (tmp_path / "err").read_text()
        return "Ctrl-C stops" in out.read_text()

    wait_until(is_ready, deadline_s=90)
    return process


def draw_with_the_printed_commands(printed: str, tmp_path: Path, **extra: str) -> None:
    """Paste each of the indented commands into a shell, in which only ``extra`` is set of our variables."""
    lines = re.findall(r"^  (\S.*)$", printed, re.MULTILINE)
    assert ["curl" in line for line in lines] == [True, False], printed
    for line in lines:
        drawn = tmp_path / "image.png"
        drawn.unlink(missing_ok=True)
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=clean_environment(**extra), check=True, timeout=60)
        assert pixels(drawn.read_bytes()).shape == (128, 128, 3)


@pytest.mark.usefixtures("processes")
def test_ready_draw_stop_and_again(tmp_path: Path, free_port: int) -> None:
    process = serve(tmp_path, free_port)
    printed = (tmp_path / "out").read_text()
    assert f"http://127.0.0.1:{free_port}/docs" in printed
    assert "models: demo\nLoRA of demo: adapters: outline, stripes; blends: mix\n" in printed
    assert "API keys" not in printed
    draw_with_the_printed_commands(printed, tmp_path)

    url = f"http://127.0.0.1:{free_port}"
    drawn = imagegen("generate", "a red circle", "--seed", "7", "--url", url, cwd=tmp_path)
    assert (drawn.returncode, drawn.stdout) == (0, "out.png (seed 7)\n"), drawn.stderr

    family = children(process.pid)
    assert len(family) >= 4  # Redis, the API, a worker and its child
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert all(map(is_gone, family))
    assert "Traceback" not in (tmp_path / "err").read_text()

    process = serve(tmp_path, free_port, IMAGEGEN_WORKER__ENGINE="simulated")  # with the same data
    family = children(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: all(map(is_gone, family)), deadline_s=5)


@pytest.mark.usefixtures("processes")
def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    model = ("--model_path", str(tmp_path / "model"), "--rest_port", str(free_port))
    done = imagegen("serve", *model, XDG_DATA_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.usefixtures("processes")
def test_with_a_key_file_the_printed_commands_send_its_first_key(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "the keys").write_text("# of the team\n\nsk-hush max_priority=low\nsk-other\n")
    process = serve(tmp_path, free_port, "--api_key_file", "the keys", IMAGEGEN_WORKER__ENGINE="simulated")
    printed = (tmp_path / "out").read_text()
    assert f"API keys are on: each request needs a key of the file {tmp_path}/the keys (from --api_key_file)" in printed
    assert "hush" not in printed
    draw_with_the_printed_commands(printed, tmp_path)
    a_second_worker_finds_its_redis(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def a_second_worker_finds_its_redis(tmp_path: Path) -> None:
    """Start `imagegen worker` beside `imagegen serve`, with no address: it gets ready, and doctor counts both."""
    environment = clean_environment(XDG_DATA_HOME=str(tmp_path), IMAGEGEN_WORKER__ENGINE="simulated")
    log = tmp_path / "second"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "worker"], env=environment, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        wait_until(
            lambda: "ready: the worker for 'demo' on CPU takes jobs" in log.read_text(), "the second worker is ready"
        )
        doctor = imagegen("doctor", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path))
        assert "demo: ready: 2 on CPU" in doctor.stdout, doctor.stdout
    finally:
        worker.terminate()
    assert worker.wait(30) == 0


@pytest.mark.usefixtures("processes")
def test_with_an_inherited_key_the_printed_commands_send_it(tmp_path: Path, free_port: int) -> None:
    process = serve(tmp_path, free_port, API_KEY="sk-hush", IMAGEGEN_WORKER__ENGINE="simulated")
    printed = (tmp_path / "out").read_text()
    assert "API keys are on: each request needs the key in the environment variable API_KEY, which was set" in printed
    assert "hush" not in printed
    draw_with_the_printed_commands(printed, tmp_path, API_KEY="sk-hush")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
