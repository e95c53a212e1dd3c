"""What half precision would spoil is kept when a part is written in it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("processes", "openvino_runtime")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    words = [sys.executable, "-m", "tests.cli.export.half_precision", str(folder)]
    done = subprocess.run(words, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, check=True, text=True)
    return {**json.loads(done.stdout), "files": sorted(path.name for path in folder.iterdir())}


def test_a_sine_of_large_angles_is_the_same_in_half_precision(written: Any) -> None:
    assert written["errors"]["plain"] > 0.01
    assert written["errors"]["kept"] < 1e-4


def test_weights_are_half_and_the_file_may_be_the_one_that_was_read(written: Any) -> None:
    assert {"full.xml", "full.bin"} <= set(written["files"]) and len(written["files"]) == 10
    assert all("f32" not in types for name, types in written["types"].items() if name != "too_large")
    assert "Add" in written["types"]["full"]


def test_what_half_precision_holds_or_cannot_hold_at_all_stays_one_number(written: Any) -> None:
    assert "Add" not in written["types"]["exact"] and "Add" not in written["types"]["too_large"]
