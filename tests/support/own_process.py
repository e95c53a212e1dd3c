"""Runs a part of a test in a Python process of its own, which may harm its memory and nothing else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def run_in_own_process(part: Callable[[Path], None], folder: Path) -> None:
    """Call ``part(folder)``, a function of a module, in a new process.

    Raises AssertionError with what the process printed if it ends otherwise than by returning.
    """
    call = f"import sys, pathlib, {part.__module__} as m; m.{part.__name__}(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", call, str(folder)],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
