"""`imagegen serve` as a user runs it: it gets ready, its printed command works, Ctrl-C leaves no process."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.local.api_address import base_url
from cli.local.local_service import announcement, curl_line
from config.http_settings import HttpSettings
from tests.cli.cli_support import clean_environment, imagegen, is_gone
from tests.support.images import pixels
from tests.support.polling import wait_until


def children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in children(child)]


def serve(tmp_path: Path, port: int, **extra: str) -> "subprocess.Popen[bytes]":
    """Start it with the bundled model, and return when it has printed that it is ready."""
    out = tmp_path / "out"
    with out.open("wb") as stdout, (tmp_path / "err").open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "serve"],
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


@pytest.mark.usefixtures("processes")
def test_ready_draw_stop_and_again(tmp_path: Path, free_port: int) -> None:
    process = serve(tmp_path, free_port)
    printed = (tmp_path / "out").read_text()
    assert f"http://127.0.0.1:{free_port}/docs" in printed
    assert "models: demo" in printed
    line = re.search(r"^  (curl .*)$", printed, re.MULTILINE)
    assert line
    subprocess.run(["bash", "-c", line[1]], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")
    assert pixels((tmp_path / "image.png").read_bytes()).shape == (128, 128, 3)

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


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("images.local", "http://images.local:8000"),
    ],
)
def test_the_printed_address_can_be_reached(address: str, url: str) -> None:
    http = HttpSettings(rest_bind_address=address)
    assert base_url(http) == url
    assert f"{url}/v3" in announcement(http, ["demo"])


def test_with_several_models_the_command_names_one() -> None:
    assert '"model": "it\\u0027s"' in curl_line("http://h:1", ["it's", "other"])
    assert "model" not in curl_line("http://h:1", ["demo"]).partition("-d '")[2].partition("'")[0]
