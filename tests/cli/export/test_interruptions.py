"""Exports with the real libraries that are killed, or that the disk or the memory ends."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphs.repository.servables import MODEL_INDEX
from tests.cli.cli_support import clean_environment
from tests.cli.export.torch_support import by_hand, exported, made_source
from tests.support.service import IMAGEGEN

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("processes")]
_DETACH = 2  # MNT_DETACH of umount2(2)


@pytest.fixture(scope="module")
def source(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_source(data_dir, "sdxl", tmp_path_factory.mktemp("source") / "model")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB: the source's parts take more together."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=3m"):
        pytest.skip(f"a file system can be mounted by root only ({os.strerror(ctypes.get_errno())})")
    yield folder
    libc.umount2(os.fsencode(folder), _DETACH)


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
def test_a_disk_that_fills_up_leaves_nothing_half_visible(
    data_dir: Path, source: Path, small_disk: Path, tmp_path: Path
) -> None:
    done = exported(source, data_dir, small_disk / "ov", "--weight-format", "fp32")
    assert done.returncode == 2
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("Error")] or [done.stderr]
    assert f"the disk of {small_disk} is full" in last, done.stderr
    assert not (small_disk / "ov").exists()


@by_hand
def test_too_little_memory_is_said(data_dir: Path, source: Path, tmp_path: Path) -> None:
    done = exported(source, data_dir, tmp_path / "ov", "--memory_limit_gib", "1.6", "--weight-format", "fp16")
    assert done.returncode == 2
    assert "memory" in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "ov" / MODEL_INDEX).exists()
