"""Every graph.pbtxt of this repository and of its pages is one that OpenVINO Model Server reads.

What the commands write is held against the same list in the tests of `configure` and of `--source_loras`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import EncodeError

from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions
from tests.graphs.definition.graph_files import EXAMPLE, FUSE_AND_DYNAMIC, graph_text
from tests.support.ovms_graphs import MESSAGES, MODES, read_as_model_server

ROOT = Path(__file__).parents[3]
FILES = sorted(path for folder in ("graphs", "docs", "docker", "tests") for path in (ROOT / folder).rglob("*.pbtxt"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A double keeps 0.7 as it was written; the text of both types is the same.
_OURS = {"float": "double"}
_NESTED = {name: f"ImageGenCalculatorOptions.{name}" for name in (*MESSAGES, "LoraLoadMode")}


def _written_in_pages() -> list[str]:
    """Return the graphs of the pages, and what they show of a node's options, in the example's graph."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        blocks += re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.M)
        found += [block for block in blocks if "node_options" in block]
        adapters = [block for block in blocks if "lora_adapters {" in block and "node_options" not in block]
        found += [graph_text(f'models_path: "./"\n{block}') for block in adapters]
    return found


def _fields(message: Any) -> set[tuple[str, int, str]]:
    kinds = {number: name.removeprefix("TYPE_").lower() for name, number in _KINDS.items()}
    return {
        (f.name, f.number, (f.message_type or f.enum_type).full_name if f.type in (11, 14) else kinds[f.type])
        for f in message.fields
    }


_KINDS = {"TYPE_DOUBLE": 1, "TYPE_FLOAT": 2, "TYPE_INT64": 3, "TYPE_UINT64": 4, "TYPE_STRING": 9}


@pytest.mark.parametrize("name", MESSAGES)
def test_our_proto_has_the_fields_of_model_server_and_no_others(name: str) -> None:
    ours = ImageGenCalculatorOptions.DESCRIPTOR
    message = ours if name == ours.name else ours.nested_types_by_name[name]
    kinds = {field: _OURS.get(kind, kind) for field, _, _, kind in MESSAGES[name]}
    expected = {
        (field, number, f"mediapipe.{_NESTED[kind]}" if (kind := kinds[field]) in _NESTED else kind)
        for field, number, _, _ in MESSAGES[name]
    }
    assert _fields(message) == expected
    repeated = {field.name for field in message.fields if field.is_repeated}
    assert repeated == {field for field, _, label, _ in MESSAGES[name] if label == "repeated"}


def test_the_modes_of_adapters_are_those_of_model_server() -> None:
    assert tuple(ImageGenCalculatorOptions.LoraLoadMode.items()) == MODES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_graph_of_the_repository_is_read(path: Path) -> None:
    assert read_as_model_server(path.read_text()).models_path == "./"


def test_every_graph_of_the_pages_is_read() -> None:
    written = _written_in_pages()
    assert len(written) >= 2
    for text in written:
        assert read_as_model_server(text).models_path == "./", text


def test_the_examples_of_model_server_are_read() -> None:
    assert read_as_model_server(EXAMPLE).device == "CPU"
    options = read_as_model_server(graph_text(f'models_path: "./"\n{FUSE_AND_DYNAMIC}'))
    assert [adapter.alias for adapter in options.lora_adapters] == ["style_base", "pokemon", "anime"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ('models_path: "./" default_size_fit: "nearest"', text_format.ParseError),
        ('models_path: "./" num_images_per_prompt: 9223372036854775808', text_format.ParseError),
        ('models_path: "./" lora_adapters { alias: "a" }', EncodeError),
        ('device: "CPU"', EncodeError),
    ],
)
def test_what_model_server_would_refuse_is_refused_here(options: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_as_model_server(graph_text(options))
