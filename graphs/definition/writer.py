"""Writes a Graph as the text of a graph.pbtxt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphs.definition.calculator_graph import CALCULATOR, OPTIONS_TYPE, REQUEST_TAG, RESPONSE_TAG, SIDE_PACKET
from graphs.definition.graph import LISTS_IN_ONE_TEXT, CompositeComponent, CompositeLoraAdapter, Graph, LoraAdapter
from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions

_ALWAYS_WRITTEN = ("models_path", "device")

_TEMPLATE = f"""\
input_stream: "{REQUEST_TAG}:input"
output_stream: "{RESPONSE_TAG}:output"

node: {{
  name: "ImageGenExecutor"
  calculator: "{CALCULATOR}"
  input_stream: "{REQUEST_TAG}:input"
  input_side_packet: "{SIDE_PACKET}"
  output_stream: "{RESPONSE_TAG}:output"
  node_options: {{
      {OPTIONS_TYPE}: {{
%s
      }}
  }}
}}
"""


def format_graph(graph: Graph) -> str:
    """Return the text of a graph.pbtxt that reads back as the same graph, without options that have their defaults.

    Paths inside the folder of ``graph.path`` are written relative to it; a graph without a path is written
    for a graph.pbtxt in its models directory.
    """
    return _TEMPLATE % "\n".join(" " * 10 + line for line in _option_lines(graph))


def _option_lines(graph: Graph) -> Iterator[str]:
    """Yield a line for each option that is not at its default, in the order of ImageGenCalculatorOptions."""
    folder = graph.path.parent if graph.path else graph.models_path
    for field in ImageGenCalculatorOptions.DESCRIPTOR.fields:
        name = field.name
        value = getattr(graph, field.name)
        if name == "lora_adapters":
            yield from (_adapter(adapter, folder) for adapter in graph.lora_adapters)
        elif name == "composite_lora_adapters":
            yield from (_composite(composite) for composite in graph.composite_lora_adapters)
        elif name in _ALWAYS_WRITTEN or (value != Graph.model_fields[name].default and not _follows(graph, name)):
            yield f"{name}: {_text(' '.join(map(str, value)) if name in LISTS_IN_ONE_TEXT else value, folder)}"


def _follows(graph: Graph, name: str) -> bool:
    """Return whether an option follows from another one, beside which it must not be written."""
    if name == "max_resolution":
        return bool(graph.resolution)
    return name == "max_num_images_per_prompt" and graph.num_images_per_prompt is not None


def _text(value: Any, folder: Path) -> str:
    """Return an option's value in the text format of protobuf."""
    if isinstance(value, Path):
        return _quoted(_relative(value, folder, same="./"))
    if isinstance(value, dict):
        return _quoted(json.dumps(value, ensure_ascii=False, allow_nan=False))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else _quoted(str(value))


def _adapter(adapter: LoraAdapter, folder: Path) -> str:
    alias = _quoted(adapter.alias)
    path = _quoted(_relative(adapter.path, folder, same="."))
    return f"lora_adapters {{ alias: {alias} path: {path}{_alpha(adapter)} mode: {adapter.mode} }}"


def _composite(composite: CompositeLoraAdapter) -> str:
    components = " ".join(
        f"components {{ adapter_alias: {_quoted(component.adapter_alias)}{_alpha(component)} }}"
        for component in composite.components
    )
    return f"composite_lora_adapters {{ alias: {_quoted(composite.alias)} {components} }}"


def _alpha(weighted: LoraAdapter | CompositeComponent) -> str:
    return f" alpha: {weighted.alpha!r}" if weighted.alpha_given else ""


def _relative(path: Path, folder: Path, *, same: str) -> str:
    if path == folder:
        return same
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _quoted(text: str) -> str:
    """Return a string of the text format, in single quotes if that avoids escapes, as OVMS writes plugin_config."""
    quote = "'" if '"' in text and "'" not in text else '"'
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return quote + "".join(c if c.isprintable() else _octal(c) for c in escaped) + quote


def _octal(character: str) -> str:
    """Return a character that is not printable as escaped bytes, so that the text controls no terminal."""
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogateescape"))
