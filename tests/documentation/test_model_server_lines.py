"""Each line of the table in docs/ovms.md is run, and becomes what the table says."""

import re
from pathlib import Path
from typing import Any

import pytest

from graphs.definition.reader import read_graph
from tests.documentation.model_server_lines import LONGEST_S, Line, lines_of_the_page, machine_for
from tests.support.polling import wait_until

pytestmark = pytest.mark.timeout(2 * LONGEST_S)
LINES = lines_of_the_page()
# With these flags alone two lines that serve differ in nothing that is looked at here: names, and devices of which the
# CPU takes the place. The first of them is run by `make test`, the others by `make test-thorough`.
_ALIKE = {"target_device", "model_name", "port", "task", "log_level", "cache_dir"}


def cases(*results: str) -> list[Any]:
    """Return the lines with these results as cases."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for line in (line for line in LINES if line.result in results):
        flags = tuple(sorted(set(re.findall(r"--(\w+)", line.typed)) - _ALIKE))
        is_again = line.result == "served" and flags in seen
        seen.add(flags)
        found.append(pytest.param(line, id=line.typed, marks=[pytest.mark.thorough] if is_again else []))
    return found


def test_the_table_is_read_whole() -> None:
    assert len(LINES) > 40
    assert {line.result for line in LINES} == {"served", "pulled", "done", "refused"}


@pytest.mark.usefixtures("processes", "openvino_runtime")
@pytest.mark.parametrize("line", cases("served"))
def test_a_line_that_serves(line: Line, tmp_path: Path) -> None:
    """A picture is drawn under each name with the client of OpenAI."""
    with machine_for(line, tmp_path) as machine, machine.serving(line) as service:
        wait_until(service.is_ready, f"ready; see {service.log}", deadline_s=LONGEST_S)
        client = service.client()
        listed = [model.id for model in client.models.list()]
        assert listed[: len(line.names)] == line.names
        for name in line.names:
            drawn = client.images.generate(model=name, prompt="a cat", extra_body={"num_inference_steps": 1})
            assert drawn.data and drawn.data[0].b64_json


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("line", cases("pulled", "done", "refused"))
def test_a_line_that_ends(line: Line, tmp_path: Path) -> None:
    with machine_for(line, tmp_path) as machine:
        done = machine.run(line)
        said = machine.as_typed(done.stderr)
        if line.result == "refused":
            assert (done.returncode, done.stdout) == (2, "")
            assert line.is_sentence(said.splitlines()[-1].removeprefix("imagegen: ")), said
            return
        assert (done.returncode, "Traceback" in said) == (0, False), said
        if line.result == "pulled":
            (path,) = tmp_path.glob("models/*/*/graph.pbtxt")
            graph = read_graph(path, "pulled")
            found = [adapter.alias for adapter in graph.lora_adapters]
            assert [*found, *(blend.alias for blend in graph.composite_lora_adapters)] == line.names
