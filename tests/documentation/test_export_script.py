"""The section of docs/ovms.md on Model Server's export script: each of its flags, and the line that is shown."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from graphs.definition.reader import read_graph
from tests.cli.cli_support import ROOT
from tests.documentation.model_server_lines import LONGEST_S, Line, machine_for
from tests.support.torch_models import write_torch_model

pytestmark = pytest.mark.timeout(2 * LONGEST_S)
SECTION = (ROOT / "docs" / "ovms.md").read_text().partition("## The export script\n")[2].partition("\n## ")[0]
# Of demos/common/export_models/export_model.py, at Model Server 2026.4: what all tasks take, and image_generation.
OF_THE_SCRIPT = """
    source_model model_repository_path model_name weight-format config_file_path overwrite_models target_device
    ov_cache_dir extra_quantization_params num_streams resolution guidance_scale num_images_per_prompt max_resolution
    default_resolution max_num_images_per_prompt default_num_inference_steps max_num_inference_steps source_loras
"""


def test_every_flag_of_the_script_is_in_the_table() -> None:
    table = SECTION[SECTION.index("|---|") :]
    assert set(re.findall(r"`--([\w-]+)`", table)) == {*OF_THE_SCRIPT.split(), "weight_format"}


@pytest.mark.usefixtures("processes", "openvino_runtime")
def test_the_line_of_the_page(tmp_path: Path) -> None:
    line = SECTION.partition("```sh\n")[2].partition("```")[0].replace("\\\n", " ")
    with machine_for(Line(line, "done", ""), tmp_path) as machine:
        machine.hub.add("org/dream", write_torch_model(tmp_path / "dream"))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli", *shlex.split(line)[1:]],
            env=machine.environment({}), cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_S,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    graph = read_graph(tmp_path / "models" / "dream" / "graph.pbtxt", "dream")
    assert (str(graph.max_resolution), graph.max_num_images_per_prompt) == ("1024x1024", 4)
    assert [adapter.alias for adapter in graph.lora_adapters] == ["style"]
    listed = json.loads((tmp_path / "models" / "config.json").read_text())["model_config_list"]
    assert listed == [{"config": {"name": "dream", "base_path": "dream"}}]
    report = json.loads((tmp_path / "models" / "dream" / "imagegen-export.json").read_text())
    assert (report["weight_format"], report["compression"]["sym"]) == ("int8", True)
