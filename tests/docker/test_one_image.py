"""docker/imagegen.Dockerfile, as far as it can be checked without an engine to build it: with what it copies alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.cli_support import ROOT, clean_environment
from tests.support.hub import hub_stand_in
from tests.support.polling import wait_until
from tests.support.ports import free_port
from tests.support.service import Service

DOCKERFILE = ROOT / "docker" / "imagegen.Dockerfile"
TEXT = DOCKERFILE.read_text()
COPIES = re.findall(r"^COPY (\S+) (\S+)$", TEXT, re.MULTILINE)
NAME = "OpenVINO/stable-diffusion-v1-5-int8-ov"


def test_it_copies_what_is_there_and_sent() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source, _ in COPIES:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source
    assert "pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock" in TEXT
    assert re.search(r"^USER [1-9]\d+$", TEXT, re.MULTILINE)
    assert re.search(r"^FROM \S+@sha256:[0-9a-f]{64}$", TEXT, re.MULTILINE)


def test_all_images_have_the_same_base() -> None:
    bases = {found[0] for path in DOCKERFILE.parent.glob("*.Dockerfile") if (found := _bases(path.read_text()))}
    assert len(bases) == 1


def _bases(text: str) -> list[str]:
    return re.findall(r"^FROM (\S+)$", text, re.MULTILINE)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("words", [f"--model_repository_path /models --source_model {NAME}", ""], ids=["ovms", "CMD"])
def test_the_words_after_the_image_are_the_command_line(words: str, tmp_path: Path) -> None:
    """The files that it copies are in their places below a folder, and nothing else of this project can be imported."""
    port = free_port()
    for source, target in COPIES:
        place = tmp_path / "app" / target if not target.startswith("/") else tmp_path / target[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, place)
    (entry,) = json.loads(re.findall(r"^ENTRYPOINT (\[.*\])$", TEXT, re.MULTILINE)[0])
    usual = json.loads(re.findall(r"^CMD (\[.*\])$", TEXT, re.MULTILINE)[0])
    line = f"--rest_port {port} {words}".replace("/models", str(tmp_path / "models")).split() if words else usual
    line = [str(port) if word == "8000" else word for word in line]
    assert "IMAGEGEN_DATA_DIR=/data" in TEXT and "PYTHONPATH=/app" in TEXT
    log = tmp_path / "log"
    with hub_stand_in() as hub, log.open("wb") as output:
        hub.add(NAME, ROOT / "tests" / "models" / "sd")
        environment = clean_environment(
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", PYTHONPATH=str(tmp_path / "app"),
            IMAGEGEN_DATA_DIR=str(tmp_path / "data"), HF_ENDPOINT=hub.url, HOME=str(tmp_path),
            HF_HOME=str(tmp_path / "hf"), IMAGEGEN_WORKER__ENGINE="simulated",
        )  # fmt: skip
        process = subprocess.Popen(
            [str(tmp_path / "usr/local/bin" / entry), *line], cwd=tmp_path / "app", env=environment, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        service = Service(process, port, log)
        try:
            wait_until(service.is_ready, f"ready; see {log}")
            first = next(iter(service.client().models.list())).id
            assert first == (NAME if words else "demo")
            drawn = service.client().images.generate(model=first, prompt="a fox")
            assert drawn.data and drawn.data[0].b64_json
        finally:
            assert service.stop(signal.SIGTERM) == 0  # as `docker stop` ends it
