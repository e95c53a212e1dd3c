"""The environment with PyTorch, and what is done in it: sources, and conversions without the command around them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cli.export.environment import exporter_python
from cli.local.child_environment import PROJECT_ROOT
from config.environment import foreign_environment
from graphs.repository.bundled import bundled_model_path
from tests.cli.cli_support import clean_environment
from tests.support.service import IMAGEGEN

_Test = TypeVar("_Test", bound=Callable[..., object])


def by_hand(test: _Test) -> _Test:
    """Leave a test to ``make test-export``: with the others it would take CI a quarter of an hour more."""
    marked: _Test = pytest.mark.thorough(pytest.mark.export(test))
    return marked


def made_source(data_dir: Path, family: str, folder: Path, *options: str) -> Path:
    """Make a diffusers folder with random weights; ``options`` are those of make_source.py."""
    words = ["-m", "tests.cli.export.make_source", family, bundled_model_path() / "tokenizer", folder, *options]
    _run(data_dir, words)
    return folder


def exported(source: Path, data_dir: Path, output: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run ``imagegen export`` to its end."""
    words = ["export", str(source), "--data_dir", str(data_dir), "--output", str(output), *options]
    return subprocess.run([*IMAGEGEN, *words], env=clean_environment(), capture_output=True, text=True)


def converted(data_dir: Path, source: Path, output: Path, program: tuple[str, ...] = ("-m", "tools.exporter")) -> Any:
    """Run the converter without the command, in fp16; return its last event."""
    plan = output.with_suffix(".json")
    compression = {"weight_format": "fp16", "sym": False}
    plan.write_text(
        json.dumps({"source": str(source), "single_file": None, "output": str(output), "compression": compression})
    )
    done = _run(data_dir, [*program, plan], check=False)
    events = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert events, done.stderr
    return json.loads(events[-1])


def _run(data_dir: Path, words: list[Any], *, check: bool = True) -> "subprocess.CompletedProcess[str]":
    environment = foreign_environment() | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROJECT_ROOT)}
    command = [str(word) for word in (exporter_python(data_dir), *words)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done
