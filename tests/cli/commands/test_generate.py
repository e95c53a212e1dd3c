"""`imagegen generate`, against a small server with the answers of the API."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.client import http_client
from tests.cli.cli_support import clean_environment, imagegen_here
from tests.support.polling import wait_until

IMAGES = [b"first image", b"second image"]
DEFAULT, EACH = [{"seed": 42}, {}], [{"seed": 42}, {"seed": 43}]


class Server(ThreadingHTTPServer):
    """Records its requests; ``states`` are the answers for the job, of which the last one is repeated."""

    daemon_threads = True
    states: list[dict[str, Any]]
    refusal: tuple[int, dict[str, Any], dict[str, str]] | None = None
    is_async = True
    seeds: list[dict[str, int]] = DEFAULT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.states = [{"status": "in_progress", "progress": 50}, {"status": "completed", "progress": 100}]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.calls.append(f"POST {self.path}")
        self.server.headers.append(dict(self.headers))
        self.server.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
        if self.path.endswith("/cancel"):
            self._answer(200, {})
        elif self.server.refusal:
            self._answer(*self.server.refusal)
        elif self.server.is_async:
            self._answer(202, {"id": "job_1", "status": "queued", "progress": 0})
        else:
            self._answer(200, self._result())

    def do_GET(self) -> None:
        self.server.calls.append(f"GET {self.path}")
        if self.path.endswith("/result"):
            self._answer(200, self._result())
        else:
            state = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
            self._answer(200, {"id": "job_1", "step": 5, "total_steps": 10, **state})

    def _result(self) -> dict[str, Any]:
        data = [
            {"b64_json": base64.b64encode(p).decode(), **more}
            for p, more in zip(IMAGES, self.server.seeds, strict=True)
        ]
        return {"data": data, "seed": 42}

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(http_client, "_POLL_S", 0.02)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_each_image_shows_its_own_seed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.seeds = EACH
    code = imagegen_here("generate", "a star", "--n", "2", "--seed", "42", "--seeds", "each", "--url", server.url)
    output = capsys.readouterr()
    assert code == 0, output
    assert output.out == "out.png (seed 42)\nout-1.png (seed 43)\n"
    assert json.loads(server.bodies[0])["seeds"] == "each"


def test_it_submits_follows_and_saves(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a red circle", "-o", "out.png", "--n", "2", "--size", "64x64", "--steps", "10", "--seed", "42"]
    code = imagegen_here("generate", *words, "--guidance_scale", "1.5", "--api_key", "k", "--url", server.url)
    output = capsys.readouterr()
    assert code == 0, output
    assert output.out == "out.png (seed 42)\nout-1.png (seed 42)\n"
    assert [Path("out.png").read_bytes(), Path("out-1.png").read_bytes()] == IMAGES
    assert server.calls == [
        "POST /v3/images/generations",
        *["GET /v3/images/jobs/job_1"] * 2,
        "GET /v3/images/jobs/job_1/result",
    ]
    assert json.loads(server.bodies[0]) == {
        "prompt": "a red circle",
        "output_format": "png",
        "size": "64x64",
        "num_inference_steps": 10,
        "seed": 42,
        "n": 2,
        "guidance_scale": 1.5,
    }
    sent = {name.lower(): value for name, value in server.headers[0].items()}
    assert (sent["prefer"], sent["authorization"]) == ("respond-async", "Bearer k")


def test_an_image_makes_it_an_edit(server: Server) -> None:
    Path("in.png").write_bytes(b"the image")
    Path("mask.png").write_bytes(b"the mask")
    words = ["bluer", "--image", "in.png", "--mask", "mask.png", "--strength", "0.5", "-o", "edited.webp"]
    assert imagegen_here("generate", *words, "--url", server.url + "/") == 0
    assert server.calls[0] == "POST /v3/images/edits"
    for part in (b'name="image"; filename="in.png"', b"the image", b'name="mask"', b"the mask", b"0.5", b"webp"):
        assert part in server.bodies[0]
    assert Path("edited.webp").exists()


def test_a_server_that_returns_the_image_at_once(server: Server) -> None:
    server.is_async = False
    assert imagegen_here("generate", "x", "--url", server.url) == 0
    assert Path("out.png").read_bytes() == IMAGES[0]
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            (400, {"error": {"message": "must be a multiple of 8", "param": "size"}}, {}),
            "imagegen: the server refuses: size: must be a multiple of 8\n",
        ),
        (
            (429, {"error": {"message": "The queue is full.", "param": None}}, {"Retry-After": "7"}),
            "imagegen: the server refuses: The queue is full. (try again in 7 s)\n",
        ),
        ((502, {"other": 1}, {}), "imagegen: the server refuses: HTTP 502 Bad Gateway\n"),
    ],
)
def test_a_refusal_is_reported(
    server: Server,
    refusal: tuple[int, dict[str, Any], dict[str, str]],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.refusal = refusal
    assert imagegen_here("generate", "x", "--url", server.url) == 2
    assert capsys.readouterr().err == sentence


def test_a_failed_job_is_reported(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.states = [{"status": "failed", "error": {"code": "worker_crashed", "message": "It crashed."}}]
    assert imagegen_here("generate", "x", "--url", server.url) == 2
    assert capsys.readouterr().err == "imagegen: the job is failed: It crashed.\n"
    assert not Path("out.png").exists()


@pytest.mark.usefixtures("long_computation")
def test_a_job_that_takes_too_long_is_cancelled(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.states = [{"status": "queued"}]
    assert imagegen_here("generate", "x", "--url", server.url, "--timeout_s", "1") == 2
    assert "no image after 1 s" in capsys.readouterr().err
    assert server.calls[-1] == "POST /v3/images/jobs/job_1/cancel"


@pytest.mark.usefixtures("processes")
def test_ctrl_c_cancels_the_job(server: Server) -> None:
    server.states = [{"status": "in_progress"}]
    command = [sys.executable, "-P", "-m", "cli", "generate", "x", "--url", server.url]
    with subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: "GET /v3/images/jobs/job_1" in server.calls)
        os.kill(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (130, "imagegen: cancelled\n")
    assert server.calls[-1] == "POST /v3/images/jobs/job_1/cancel"
