"""Exports with the real libraries that are killed, or that a full disk ends."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cli_support import clean_environment
from tests.cli.export.torch_support import by_hand, exported, made_source
from tests.support.full_disk import fill, mounted
from tests.support.service import IMAGEGEN

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("processes")]


@pytest.fixture(scope="module")
def source(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_source(data_dir, "sdxl", tmp_path_factory.mktemp("source") / "model")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    with mounted(tmp_path / "disk", "8m") as folder:
        yield folder


def _killed_at(part: str, words: list[str]) -> str:
    """Start an export, kill it and its children when it has begun a part, and return what it had said."""
    with subprocess.Popen(
        [*IMAGEGEN, *words], env=clean_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        said = ""
        assert process.stderr
        for line in process.stderr:
            said += line
            if part in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
    return said


@by_hand
def test_killed_in_each_part_it_goes_on(data_dir: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "ov"
    words = ["export", str(source), "--data_dir", str(data_dir), "-o", str(target), "--weight-format", "fp16"]
    places = [f"{number} of 5:" for number in range(1, 6)] + ["converting the tokenizers", "drawing a first picture"]
    for number, place in enumerate(places):
        said = _killed_at(place, words)
        assert place in said, said
        assert not any(path.name == "ov" for path in tmp_path.iterdir())
        if number:
            assert f"{number - 1} of 5:" not in said, said
    done = exported(source, data_dir, target, "--weight-format", "fp16")
    assert done.returncode == 0, done.stderr
    assert "of 5:" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ov"]


@by_hand
def test_a_disk_that_fills_up_leaves_nothing_half_visible(data_dir: Path, source: Path, small_disk: Path) -> None:
    words = ["export", str(source), "--data_dir", str(data_dir), "-o", str(small_disk / "ov")]
    said = ""
    with subprocess.Popen(
        [*IMAGEGEN, *words, "--weight-format", "fp16"], env=clean_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            said += line
            if "2 of 5:" in line:
                fill(small_disk / "other")
    assert process.returncode == 2, said
    assert f"the disk of {small_disk} is full; make room, and run the command again" in said.splitlines()[-1]
    assert not (small_disk / "ov").exists()
    (small_disk / "other").unlink()
    done = exported(source, data_dir, small_disk / "ov", "--weight-format", "fp16")
    assert done.returncode == 0, done.stderr
    assert "1 of 5:" not in done.stderr
