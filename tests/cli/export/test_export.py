"""The whole road with the real libraries: a diffusers folder, its export, its server, the stock client's picture."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from cli.export.environment import exporter_python
from cli.export.report import REPORT_FILE
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import clean_environment
from tests.support.service import IMAGEGEN, serving

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(1500), pytest.mark.usefixtures("processes")]
MAKE = Path(__file__).with_name("make_source.py")


def _exported(source: Path, data_dir: Path, output: Path) -> "subprocess.CompletedProcess[str]":
    words = ["export", str(source), "--data_dir", str(data_dir), "--output", str(output)]
    return subprocess.run([*IMAGEGEN, *words], env=clean_environment(), capture_output=True, text=True)


def test_from_a_diffusers_folder_to_a_picture(data_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "model"
    tokenizer = bundled_model_path() / "tokenizer"
    subprocess.run([exporter_python(data_dir), MAKE, tokenizer, source], check=True)
    made = _exported(source, data_dir, tmp_path / "int8")
    assert made.returncode == 0, made.stderr
    report = json.loads((tmp_path / "int8" / REPORT_FILE).read_text())
    assert sorted(report["parts"]) == ["text_encoder", "unet", "vae_decoder", "vae_encoder"]
    assert all(part["cosine"] >= 0.99 and part["weight_format"] == "int8" for part in report["parts"].values())
    with serving(tmp_path / "service", "--model_path", str(tmp_path / "int8")) as service:
        drawn = service.client().images.generate(prompt="a red circle", extra_body={"size": "128x128"}).data
        assert drawn is not None and drawn[0].b64_json is not None
        assert base64.b64decode(drawn[0].b64_json).startswith(b"\x89PNG")

    again = _exported(source, data_dir, tmp_path / "int8")
    assert again.returncode == 2 and "is there already" in again.stderr
