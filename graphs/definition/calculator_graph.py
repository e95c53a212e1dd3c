"""Checks the parts of a graph.pbtxt around its options: the streams, the node and its side packet."""

import re
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from graphs.definition.image_gen_calculator_pb2 import CalculatorGraphConfig, ImageGenCalculatorOptions
from graphs.definition.source_lines import Source, Step

CALCULATOR = "ImageGenCalculator"
OPTIONS_TYPE = "[type.googleapis.com / mediapipe.ImageGenCalculatorOptions]"
REQUEST_TAG = "HTTP_REQUEST_PAYLOAD"
RESPONSE_TAG = "HTTP_RESPONSE_PAYLOAD"
SIDE_PACKET = "IMAGE_GEN_NODE_RESOURCES:pipes"
_STREAM = re.compile(r"([A-Z0-9_]+):([a-z_][a-z0-9_]*)", re.ASCII)


def unpack_options(config: CalculatorGraphConfig, source: Source) -> ImageGenCalculatorOptions:
    """Check everything except the options, and return these as they were written.

    Raises GraphError with file, line, field and reason.
    """
    request = _stream(config.input_stream, REQUEST_TAG, source, "input_stream")
    response = _stream(config.output_stream, RESPONSE_TAG, source, "output_stream")
    node = _node(config, source)
    _check_same(
        request,
        _stream(node.input_stream, REQUEST_TAG, source, "node", "input_stream"),
        source,
        "input_stream",
    )
    _check_same(
        response,
        _stream(node.output_stream, RESPONSE_TAG, source, "node", "output_stream"),
        source,
        "output_stream",
    )
    if list(node.input_side_packet) != [SIDE_PACKET]:
        reason = f'The node must have exactly this side packet: input_side_packet: "{SIDE_PACKET}".'
        raise source.error(reason, "node", "input_side_packet")
    return _unpacked(node, source)


def _node(config: CalculatorGraphConfig, source: Source) -> CalculatorGraphConfig.Node:
    if not config.node:
        raise source.error(f'There is no node; write one with calculator: "{CALCULATOR}".', "node")
    for index, node in enumerate(config.node):
        if node.calculator != CALCULATOR:
            reason = f'The calculator must be "{CALCULATOR}", not "{node.calculator}": this server runs no other.'
            raise source.error(reason, *_nth_node(index), "calculator")
    if len(config.node) > 1:
        reason = f"There must be exactly one node, not {len(config.node)}; serve each from its own folder."
        raise source.error(reason, *_nth_node(1))
    return config.node[0]


def _nth_node(index: int) -> tuple[Step, ...]:
    return (("node", index),) if index else ("node",)


def _stream(streams: Iterable[str], tag: str, source: Source, *steps: Step) -> str:
    """Return the name of the only stream, which follows its tag."""
    written = list(streams)
    match = _STREAM.fullmatch(written[0]) if len(written) == 1 else None
    if match is None or match[1] != tag:
        name = "input" if tag == REQUEST_TAG else "output"
        found = ", ".join(repr(stream[:80]) for stream in written[:3]) or "none"
        reason = f'There must be exactly one stream here, tagged {tag}, such as "{tag}:{name}"; found {found}.'
        raise source.error(reason, *steps)
    return match[2]


def _check_same(outer: str, inner: str, source: Source, field: str) -> None:
    if outer != inner:
        reason = f"The node's stream is named {inner!r} and the graph's {outer!r}; give both the same name."
        raise source.error(reason, "node", field)


def _unpacked(node: CalculatorGraphConfig.Node, source: Source) -> ImageGenCalculatorOptions:
    options = ImageGenCalculatorOptions()
    reason = f"The node must have node_options once, holding {OPTIONS_TYPE}: {{ ... }} with at least models_path."
    if len(node.node_options) != 1:
        raise source.error(reason, "node", "node_options")
    try:
        if node.node_options[0].Unpack(options):
            return options
    except DecodeError:
        reason = "The options are given in packed form and cannot be decoded; write them as text."
    raise source.error(reason, "node", "node_options")
