import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[3]
PROTO = "graphs/definition/image_gen_calculator.proto"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={out}", f"--pyi_out={out}", PROTO]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100)
    return out


@pytest.mark.parametrize("name", ["image_gen_calculator_pb2.py", "image_gen_calculator_pb2.pyi"])
def test_the_generated_module_is_that_of_the_proto(generated: Path, name: str) -> None:
    assert (ROOT / "graphs/definition" / name).read_text() == (generated / "graphs/definition" / name).read_text()
