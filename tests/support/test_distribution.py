"""The distribution of test files survives a test that ends its process."""

import re
import subprocess
import sys
from pathlib import Path

HOOKS = "from tests.support.distribution import pytest_testnodedown, pytest_xdist_make_scheduler  # noqa: F401\n"
CRASHING = """
import os, signal

def test_first(): pass

def test_that_ends_its_process(): os.kill(os.getpid(), signal.SIGKILL)

def test_last(): pass
"""
OPTIONS = [
    "-q",
    "-p",
    "no:schemathesis",
    "-p",
    "no:cacheprovider",
    "-n",
    "2",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
]
# It ends its process in the first run, and in every run if its name says so.
FAULTY = """
import os, pathlib, signal

def test_once(tmp_path_factory):
    seen = pathlib.Path(__file__).with_suffix(".seen")
    if not seen.exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGSEGV)

def test_always(): os.kill(os.getpid(), signal.SIGSEGV)
"""
HARMLESS = "def test_one(): pass\n"


def test_a_test_in_which_memory_fails_is_run_once_more(processes: None, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_faulty.py").write_text(FAULTY)
    (tmp_path / "test_a.py").write_text(HARMLESS)
    run = _run(tmp_path)
    assert "1 failed, 2 passed" in run.stdout
    assert re.search(r"^FAILED \S*test_faulty\.py::test_always", run.stdout, re.MULTILINE)
    assert "the process of test_faulty.py::test_once ended; the test is run once more" in run.stdout


def test_a_run_goes_on_after_a_process_has_crashed(processes: None, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_crashing.py").write_text(CRASHING)
    for name in ("a", "z"):
        (tmp_path / f"test_{name}.py").write_text(HARMLESS)

    run = _run(tmp_path)

    assert "1 failed, 4 passed" in run.stdout
    assert "test_crashing.py::test_that_ends_its_process" in run.stdout
    assert "was ended by signal 9" in run.stdout


def _run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "-c", "/dev/null", "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
