"""Reads a graph.pbtxt as OpenVINO Model Server does: with its fields and no others.

The lists are written from openvinotoolkit/model_server, src/image_gen/image_gen_calculator.proto (August 2026), and
for the graph around the options from google-ai-edge/mediapipe, mediapipe/framework/calculator.proto, as far as our
files go.
"""

from functools import cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, text_format

# Name, number, label, type of each field. A type in capitals is one of these messages or the enumeration.
Fields = tuple[tuple[str, int, str, str], ...]

OPTIONS: Fields = (
    ("models_path", 1, "required", "string"),
    ("device", 2, "optional", "string"),
    ("plugin_config", 3, "optional", "string"),
    ("max_resolution", 4, "optional", "string"),
    ("default_resolution", 5, "optional", "string"),
    ("max_num_images_per_prompt", 6, "optional", "uint64"),
    ("default_num_inference_steps", 7, "optional", "uint64"),
    ("max_num_inference_steps", 8, "optional", "uint64"),
    ("resolution", 9, "optional", "string"),
    ("num_images_per_prompt", 10, "optional", "int64"),
    ("guidance_scale", 11, "optional", "float"),
    ("lora_adapters", 12, "repeated", "LoraAdapterEntry"),
    ("composite_lora_adapters", 13, "repeated", "CompositeLoraAdapterEntry"),
)
LORA_ADAPTER: Fields = (
    ("alias", 1, "required", "string"),
    ("path", 2, "required", "string"),
    ("alpha", 3, "optional", "float"),
    ("mode", 4, "optional", "LoraLoadMode"),
)
COMPONENT: Fields = (("adapter_alias", 1, "required", "string"), ("alpha", 2, "optional", "float"))
COMPOSITE: Fields = (("alias", 1, "required", "string"), ("components", 2, "repeated", "CompositeLoraComponent"))
MODES = (("DYNAMIC", 0), ("STATIC", 1), ("FUSE", 2))
_NODE: Fields = (
    ("name", 1, "optional", "string"),
    ("calculator", 2, "optional", "string"),
    ("input_stream", 3, "repeated", "string"),
    ("output_stream", 4, "repeated", "string"),
    ("input_side_packet", 5, "repeated", "string"),
    ("node_options", 8, "repeated", "google.protobuf.Any"),
)
_GRAPH: Fields = (
    ("node", 1, "repeated", "CalculatorGraphConfig.Node"),
    ("input_stream", 10, "repeated", "string"),
    ("output_stream", 15, "repeated", "string"),
)
MESSAGES = {
    "ImageGenCalculatorOptions": OPTIONS,
    "LoraAdapterEntry": LORA_ADAPTER,
    "CompositeLoraComponent": COMPONENT,
    "CompositeLoraAdapterEntry": COMPOSITE,
}
_Field = descriptor_pb2.FieldDescriptorProto


def read_as_model_server(text: str) -> Any:
    """Return the options of a graph.pbtxt. Raises text_format.ParseError, or EncodeError where a field is missing."""
    pool = _pool()
    graph = _message(pool, "CalculatorGraphConfig")()
    text_format.Parse(text, graph, descriptor_pool=pool)
    options = _message(pool, "ImageGenCalculatorOptions")()
    if len(graph.node) != 1 or not graph.node[0].node_options[0].Unpack(options):
        raise ValueError("there is not one node with the options of the image generation calculator")
    return options


def _message(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"mediapipe.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="ovms.proto", package="mediapipe", syntax="proto2")
    file.dependency.append("google/protobuf/any.proto")
    modes = file.enum_type.add(name="LoraLoadMode")
    for mode, number in MODES:
        modes.value.add(name=mode, number=number)
    for name, fields in MESSAGES.items():
        _add_fields(file.message_type.add(name=name), fields)
    graph = file.message_type.add(name="CalculatorGraphConfig")
    _add_fields(graph.nested_type.add(name="Node"), _NODE)
    _add_fields(graph, _GRAPH)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool


def _add_fields(message: descriptor_pb2.DescriptorProto, fields: Fields) -> None:
    for name, number, label, kind in fields:
        field = message.field.add(name=name, number=number, label=_Field.Label.Value(f"LABEL_{label.upper()}"))
        if kind.islower() and "." not in kind:
            field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
        else:
            field.type = _Field.TYPE_ENUM if kind == "LoraLoadMode" else _Field.TYPE_MESSAGE
            field.type_name = f".{kind}" if kind.startswith("google.") else f".mediapipe.{kind}"
