"""Reads graph.pbtxt, the graph definition of OpenVINO Model Server."""

import difflib
import re
import warnings
from pathlib import Path

from google.protobuf import text_format

from graphs.definition.calculator_graph import (
    OPTIONS_TYPE,
    unpack_options,
)
from graphs.definition.graph import Graph
from graphs.definition.image_gen_calculator_pb2 import CalculatorGraphConfig, ImageGenCalculatorOptions
from graphs.definition.options import resolve_options
from graphs.definition.source_lines import Source
from graphs.errors import GraphError
from graphs.operator_files import read_text

_POSITION = re.compile(r"^\d+:\d+ : ")
_QUOTED_LINE = re.compile(r"^'.*': (?=[A-Z])", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r'no field named "(\w+)"')
_REPEATED_FIELD = re.compile(r'multiple "(\w+)" fields')
_UNKNOWN_TYPE = re.compile(r"Type (\S+) not found in descriptor pool")


def read_graph(path: Path, name: str, *, default_device: str = "CPU", folder: Path | None = None) -> Graph:
    """Read and check a graph.pbtxt; ``default_device`` is used where it names no device.

    ``folder``: where its relative paths start, by default the file's own folder.

    Raises GraphError with file and reason and, if they are known, line and field.
    """
    path = path.absolute()
    try:
        text = read_text(path)
        with warnings.catch_warnings():
            # protobuf decodes escapes with Python, which warns about some of them; they are valid in graph.pbtxt.
            warnings.simplefilter("ignore", DeprecationWarning)
            config = text_format.Parse(text, CalculatorGraphConfig())
    except ValueError as error:
        raise GraphError(str(error), path=path) from None
    except text_format.ParseError as error:
        raise _syntax_error(error, path, text) from None
    except RecursionError:
        raise GraphError("The definition is nested too deeply to be read.", path=path) from None
    source = Source(path, text)
    options = unpack_options(config, source)
    return resolve_options(
        options, source, name=name, folder=(folder or path.parent).absolute(), default_device=default_device
    )


def graph_with_defaults(models_path: Path, name: str, *, default_device: str = "CPU") -> Graph:
    """Return the graph of a models directory that has no graph.pbtxt: every option at its default.

    Raises GraphError if the folder does not exist or the defaults cannot be served, for example on an NPU.
    """
    folder = models_path.absolute()
    options = ImageGenCalculatorOptions(models_path=str(folder))
    try:
        return resolve_options(options, Source(), name=name, folder=folder, default_device=default_device)
    except GraphError as error:
        reason = f"{error.reason} The options of a folder are written in its graph.pbtxt, and this one has none."
        raise GraphError(reason, path=folder, field=error.field) from None


def _syntax_error(error: text_format.ParseError, path: Path, text: str) -> GraphError:
    """Return the error of this project for protobuf's: its sentence, the line, and the field."""
    sentence = _QUOTED_LINE.sub("", _POSITION.sub("", str(error)))
    line = error.GetLine()
    if unknown := _UNKNOWN_FIELD.search(sentence):
        near = difflib.get_close_matches(unknown[1], _field_names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; remove it."
        return GraphError(f"There is no field of this name here{hint}", path=path, line=line, field=unknown[1])
    if repeated := _REPEATED_FIELD.search(sentence):
        return GraphError("The field is written twice; keep one of them.", path=path, line=line, field=repeated[1])
    if kind := _UNKNOWN_TYPE.search(sentence):
        reason = f"Options of type {kind[1]} are not known here; write {OPTIONS_TYPE}."
        return GraphError(reason, path=path, line=_line_of(kind[1], text), field="node.node_options")
    reason = f"This is not the text form of a graph: {sentence.rstrip('.')}."
    return GraphError(reason, path=path, line=line, field=_field_before(error, text))


def _field_before(error: text_format.ParseError, text: str) -> str | None:
    """Return the field at whose value the parser stopped, None if it stopped elsewhere."""
    line = error.GetLine()
    column = error.GetColumn()
    if not line or not column:
        return None
    before = "".join(text.split("\n")[line - 1 : line])[: column - 1]
    match = re.search(r"(\w+)\s*:\s*$", before)
    return match[1] if match else None


def _field_names() -> list[str]:
    options = ImageGenCalculatorOptions.DESCRIPTOR
    graph = CalculatorGraphConfig.DESCRIPTOR
    messages = [options, *options.nested_types, graph, *graph.nested_types]
    return sorted({field.name for message in messages for field in message.fields})


def _line_of(word: str, text: str) -> int | None:
    return next((n for n, line in enumerate(text.splitlines(), 1) if word in line.split("#")[0]), None)
