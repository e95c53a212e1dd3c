"""Nothing is sent to the makers of OpenVINO: its package for that is never imported."""

import subprocess
import sys
from pathlib import Path

import pytest

SEES = """
import socket, sys
def refuse(*args, **kwargs): raise SystemExit("looked up an address")
socket.getaddrinfo = refuse
import {module}
import openvino
print(sorted(name for name, module in sys.modules.items() if module and name.startswith("openvino_telemetry")))
"""


@pytest.mark.parametrize(("module", "is_quiet"), [("workers.engine.openvino_engine", True), ("openvino", False)])
def test_importing_the_engine_sends_nothing(
    module: str, is_quiet: bool, openvino_runtime: None, processes: None, tmp_path: Path
) -> None:
    """The second case shows what the first one keeps from happening."""
    run = subprocess.run(
        [sys.executable, "-c", SEES.format(module=module)],
        cwd=Path(__file__).parents[3],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout.strip() == "[]") == is_quiet
    assert (list(tmp_path.iterdir()) == []) == is_quiet
