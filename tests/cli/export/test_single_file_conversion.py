"""Single files with reduced widths, converted with the real libraries.

Their weights are random, and the command itself refuses such widths; what is converted here is what the full ones go
through after they were recognised.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.errors import UserError
from cli.export.compression import Compression
from cli.export.conversion import ExportPlan, convert
from cli.export.environment import exporter_python
from cli.export.source import ExportSource
from cli.local.child_environment import PROJECT_ROOT
from config.environment import foreign_environment
from tests.cli.export.reduced_plan import reduced_layout

# By hand: with `make test-export`.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.export,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("processes"),
]
GIB = 2**30
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _run(python: Path, *words: object) -> str:
    done = subprocess.run(
        [str(python), "-m", *map(str, words)],
        cwd=PROJECT_ROOT,
        env=foreign_environment() | OFFLINE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(data_dir: Path) -> Path:
    return exporter_python(data_dir)


def _made(python: Path, kind: str, widths: str, folder: Path) -> Path:
    file = folder / f"{kind}.safetensors"
    _run(python, "tests.cli.export.make_single_file", kind, widths, file)
    return file


def _plan(file: Path, layout: dict[str, Any]) -> ExportPlan:
    source = ExportSource(file, "StableDiffusionPipeline", {"unet": 10_000_000}, layout)
    return ExportPlan(source, file.with_suffix(".ov"), Compression("fp16"), 16 * GIB, file.name)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("sd15", {"unet": 686, "vae": 248, "text_encoder": 36}),
        ("sd2", {"unet": 686, "vae": 248, "text_encoder": 372}),
        ("sdxl", {"unet": 840, "vae": 248, "text_encoder": 36, "text_encoder_2": 53}),
    ],
)
def test_the_weights_are_those_that_diffusers_loads(
    python: Path, tmp_path: Path, kind: str, counts: dict[str, int]
) -> None:
    file = _made(python, kind, "reduced", tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps(reduced_layout(kind)))
    printed = _run(python, "tests.cli.export.compare_single_file", file, tmp_path / "plan.json")
    assert json.loads(printed.splitlines()[-1]) == counts


@pytest.mark.parametrize(
    ("kind", "widths", "channels"),
    [("sd15", "reduced", 4), ("sd2", "reduced", 4), ("sdxl", "reduced", 4), ("sd15", "inpainting", 9)],
)
def test_the_converted_parts_are_like_pytorchs_and_draw(
    python: Path, tmp_path: Path, kind: str, widths: str, channels: int
) -> None:
    plan = _plan(_made(python, kind, widths, tmp_path), reduced_layout(kind, channels))
    done = convert(python, plan, lambda _event: None)
    assert all(part["error"] < 0.01 for part in done["parts"].values())
    _run(Path(sys.executable), "workers.engine.first_picture", plan.stage)
    index = json.loads((plan.stage / "model_index.json").read_text())
    assert index["_class_name"].endswith("InpaintPipeline" if channels == 9 else "Pipeline")


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("first_stage_model.decoder.", "the weights do not fit the part: missing: decoder."),
        ("model.diffusion_model.time_embed.", "the weights do not fit the part: missing: time_embedding."),
        ("cond_stage_model.transformer.text_model.final_layer_norm.", "missing: text_model.final_layer_norm."),
    ],
)
def test_missing_weights_are_named(python: Path, tmp_path: Path, prefix: str, sentence: str) -> None:
    layout = reduced_layout("sd15")
    layout["left_out"] = [*layout["left_out"], f"{prefix}.*"]
    with pytest.raises(UserError) as refused:
        convert(python, _plan(_made(python, "sd15", "reduced", tmp_path), layout), lambda _event: None)
    assert sentence in str(refused.value)


def test_a_weight_that_no_part_has_is_named(python: Path, tmp_path: Path) -> None:
    layout = reduced_layout("sd2")
    layout["left_out"] = [one for one in layout["left_out"] if "text_projection" not in one and "logit" not in one]
    with pytest.raises(UserError, match=r"no part of the model has .*logit_scale"):
        convert(python, _plan(_made(python, "sd2", "reduced", tmp_path), layout), lambda _event: None)
