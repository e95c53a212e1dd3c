"""Starts the whole service as a user does, with ``imagegen serve``, and looks at it from outside."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from openai import OpenAI

from graphs.repository.bundled import bundled_model_path
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service_logs import shown_on_failure

IMAGEGEN = (sys.executable, "-m", "cli")

GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node: {{
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {{
      [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {{
          models_path: "{models_path}"
          device: "CPU"
          plugin_config: '{{"INFERENCE_PRECISION_HINT": "f32"}}'
          default_num_inference_steps: {steps}
          {more}
      }}
  }}
}}
"""


def write_graph(folder: Path, models_path: Path | None = None, *, steps: int = 12, more: str = "") -> Path:
    """Write a graph.pbtxt (f32, so that pixels can be compared) for a model, by default the bundled one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = GRAPH.format(models_path=models_path or bundled_model_path(), steps=steps, more=more)
    (folder / "graph.pbtxt").write_text(text)
    return folder


class Service:
    """A running ``imagegen serve``."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process, self.url, self.log = process, f"http://127.0.0.1:{port}", log
        self.http = httpx2.Client(base_url=self.url, timeout=60)
        self._clients: list[OpenAI] = []

    def client(self, *, max_retries: int = 0, prefix: str = "/v3") -> OpenAI:
        """Return a stock client, which is closed with the service's block."""
        made = OpenAI(base_url=f"{self.url}{prefix}", api_key="unused", max_retries=max_retries)
        self._clients.append(made)
        return made

    def close(self) -> None:
        """Close all connections: one that is left to the garbage collector fails whichever test runs then."""
        self.http.close()
        for client in self._clients:
            client.close()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"serve ended:\n{self.log.read_text()}"
        try:
            return self.http.get("/v2/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def descendants(self) -> dict[int, str]:
        """Return the pids and command lines of all processes below serve."""
        found: dict[int, str] = {}
        parents = {self.process.pid}
        while parents:
            children = {pid: cmd for pid, (ppid, cmd) in _processes().items() if ppid in parents}
            parents = set(children) - set(found)
            found |= children
        return found

    def worker_pids(self) -> list[int]:
        """Return the workers' processes, each parent before its child."""
        return sorted(pid for pid, command in self.descendants().items() if "workers.start graph" in command)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.close()
        self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    imagegen: Sequence[str] = IMAGEGEN,
    port: int | None = None,
    deadline_s: float = 60,
) -> Iterator[Service]:
    """Run ``imagegen serve`` with its data in ``folder`` until the block ends, at any free port unless one is given.

    It is ready after ``deadline_s`` at the latest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log = port or free_port(), folder / "serve.log"
    command = [*imagegen, "serve", "--rest_port", str(port), "--data_dir", str(folder / "data")]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    service = Service(process, port, log)
    try:
        wait_until(service.is_ready, f"ready; see {log}", deadline_s=deadline_s)
        with shown_on_failure(log):
            yield service
    finally:
        service.close()
        if process.poll() is None:
            service.stop()


def _processes() -> dict[int, tuple[int, str]]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended while we looked
            continue
        if stat[0] != "Z":
            found[int(folder.name)] = (int(stat[1]), command)
    return found
