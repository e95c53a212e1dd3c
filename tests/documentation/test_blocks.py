"""Runs the blocks of code of README.md and docs/ in the order of each page, on one service with the bundled model.

Only the address of the service (where its port is taken) and the folders /models and /loras are replaced. A page has a
folder of its own, in which its readers' files lie: a model, adapters, a file of keys, a mask.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from PIL import Image

from graphs.definition.reader import read_graph
from graphs.own_options.options_file import OPTIONS_FILE, read_options_file
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import clean_environment
from tests.documentation.blocks import BLOCKS, ROOT, Block
from tests.graphs.definition.graph_files import graph_text
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import Service, serving

pytestmark = pytest.mark.usefixtures("processes")
DOCUMENTED = "127.0.0.1:8000"
RUN_HERE = [(page, list(blocks)) for page, blocks in groupby((b for b in BLOCKS if not b.mark), lambda b: b.page)]
_SERVES = re.compile(r"^(\S*/)?imagegen serve\b", re.MULTILINE)
_FAILED = re.compile(r'"error":\s*\{')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), port=_port()) as running:
        yield running


def _port() -> int:
    """Return the port of the pages where it is free, else another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            return free_port()
    return 8000


class Reader:
    """Someone who follows a page: a folder with the files that the page speaks of, and a Python that remembers."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.folder, self.service = folder, service
        self._names: dict[str, Any] = {"__name__": "page"}
        for place in (folder / "my-model", folder / "models" / "my-model"):
            shutil.copytree(bundled_model_path(), place)
        (folder / "loras").mkdir()
        for name in ("style", "pokemon", "ink"):
            shutil.copy(
                bundled_model_path() / "loras" / "outline.safetensors", folder / "loras" / f"{name}.safetensors"
            )
        for name in ("keys", "keys.txt"):
            (folder / name).write_text("sk-of-the-first-reader\n")
        Image.new("L", (128, 128), "white").save(folder / "mask.png")
        (folder / ".venv").symlink_to(sys.prefix)

    def follow(self, block: Block) -> None:
        """Run a block as its kind is meant to be."""
        how: dict[str, Callable[[str], None]] = {
            "sh": self._shell,
            "python": self._python,
            "json": self._json,
            "yaml": self._yaml,
            "toml": self._toml,
            "pbtxt": self._pbtxt,
        }
        how[block.kind](self._here(block.text))
        for picture in self.folder.glob("*.png"):
            Image.open(picture).load()

    def _here(self, text: str) -> str:
        """Return a text with the address of the service, and with folders that can be written."""
        text = text.replace(DOCUMENTED, self.service.url.removeprefix("http://"))
        return re.sub(r"(?<![\w./])/(models|loras)\b", rf"{self.folder}/\1", text)

    def _environment(self) -> dict[str, str]:
        path = f"{self.folder}/.venv/bin:{os.environ['PATH']}"
        return clean_environment(IMAGEGEN_URL=self.service.url, PATH=path, XDG_DATA_HOME=str(self.folder / "data"))

    def _shell(self, text: str) -> None:
        if _SERVES.search(text):
            self._serve(text)
            return
        command = ["bash", "-euc", text]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert not _FAILED.search(done.stdout), done.stdout

    def _serve(self, text: str) -> None:
        """Run a block that starts a service, until it says that it is ready; then press Ctrl-C."""
        environment = {
            **self._environment(),
            "IMAGEGEN_HTTP__REST_PORT": str(free_port()),
            "IMAGEGEN_WORKER__ENGINE": "simulated",
        }
        log = self.folder / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euc", text],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C stops" in log.read_text()

        try:
            wait_until(is_ready, deadline_s=90)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 0, log.read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def _python(self, text: str) -> None:
        exec(compile(text, "page", "exec"), self._names)

    def _json(self, text: str) -> None:
        """Send a body to the service."""
        answer = self.service.http.post("/v3/images/generations", json=json.loads(text))
        assert answer.status_code == 200, answer.text

    def _yaml(self, text: str) -> None:
        """Read a configuration of Prometheus, and fetch what it would fetch."""
        (job,) = yaml.safe_load(text)["scrape_configs"]
        for target in job["static_configs"][0]["targets"]:
            assert "imagegen_jobs_queued" in httpx2.get(f"http://{target}/metrics").text

    def _toml(self, text: str) -> None:
        (self.folder / OPTIONS_FILE).write_text(text)
        assert read_options_file(self.folder / OPTIONS_FILE).options.model_fields_set

    def _pbtxt(self, text: str) -> None:
        """Read a whole graph.pbtxt, or some of a node's options."""
        whole = text if text.startswith("input_stream") else graph_text(f'models_path: "./"\n{text}')
        path = self.folder / "my-model" / "graph.pbtxt"
        for name in re.findall(r'path: "(loras/[^"]+)"', text):
            shutil.copy(self.folder / "loras" / "ink.safetensors", path.parent / name)
        path.write_text(whole)
        assert read_graph(path, "my-model").path == path


@pytest.mark.parametrize(
    ("page", "blocks"), RUN_HERE, ids=[str(page.relative_to(ROOT)).replace("/", "-") for page, _ in RUN_HERE]
)
def test_a_reader_of_the_page_gets_what_it_says(
    page: Path, blocks: list[Block], service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, service)
    for block in blocks:
        try:
            reader.follow(block)
        except BaseException as error:
            error.add_note(f"{block.place}:\n{block.text}")
            raise
