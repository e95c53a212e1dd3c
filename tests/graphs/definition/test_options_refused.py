"""Wrong options: the error names the file, the field, the line marked ``# <- here`` and the reason."""

from pathlib import Path

import pytest

from graphs.definition.reader import read_graph
from graphs.errors import GraphError
from tests.graphs.definition.graph_files import EXAMPLE, HERE, graph_text, marked_line, write_graph

MODELS_PATH = 'models_path: "./"\n'


def _refused(folder: Path, text: str) -> GraphError:
    path = write_graph(folder, text, "a.safetensors", "b.safetensors", "c.ckpt")
    with pytest.raises(GraphError) as refusal:
        read_graph(path, "model")
    assert refusal.value.path == path
    assert str(refusal.value).startswith(f"{path}:")
    return refusal.value


def _check(error: GraphError, text: str, field: str, says: str) -> None:
    assert error.field == field, error
    assert error.line == marked_line(text), error
    assert says in error.reason, error
    assert error.reason.endswith((".", "?"))


STATIC = f'{MODELS_PATH}resolution: "512x512"\n'

OPTIONS = [
    # The 24 negative cases of OVMS's own tests
    (f'models_path: "/nonexistent" {HERE}', "models_path", "not a folder"),
    (f'{MODELS_PATH}default_resolution: "4097x256" {HERE}', "default_resolution", "4096x4096"),
    (f'{MODELS_PATH}max_resolution: "(4096x4096)" {HERE}', "max_resolution", "not a resolution"),
    (f'{MODELS_PATH}max_resolution: "auto" {HERE}', "max_resolution", "not a resolution"),
    (f'{MODELS_PATH}max_resolution: "high_resolution" {HERE}', "max_resolution", "not a resolution"),
    (f'{MODELS_PATH}resolution: "auto" {HERE}', "resolution", "not a resolution"),
    (f'{MODELS_PATH}resolution: "512x512 1024x10x24" {HERE}', "resolution", "1024x10x24"),
    (f'{MODELS_PATH}resolution: "512x512 512x512" {HERE}', "resolution", "twice"),
    (f'{STATIC}default_resolution: "512x513" {HERE}', "default_resolution", "not one of the listed"),
    (f'{MODELS_PATH}plugin_config: "NUM_STREAMS=2" {HERE}', "plugin_config", "not JSON"),
    (f"{MODELS_PATH}guidance_scale: -1 {HERE}", "guidance_scale", "exactly one resolution"),
    (f"{MODELS_PATH}guidance_scale: 7.2 {HERE}", "guidance_scale", "exactly one resolution"),
    (f"{STATIC}guidance_scale: -1 {HERE}", "guidance_scale", "from 0 up"),
    (
        f'{MODELS_PATH}resolution: "1x1 2x2"\nguidance_scale: 7.2 {HERE}',
        "guidance_scale",
        "exactly one resolution",
    ),
    (
        f'{MODELS_PATH}resolution: "512x512"\nnum_images_per_prompt: -1 {HERE}',
        "num_images_per_prompt",
        "must be greater than 0",
    ),
    (f"{MODELS_PATH}num_images_per_prompt: 9223372036854775808 {HERE}", "num_images_per_prompt", "out of range"),
    (f"{MODELS_PATH}num_images_per_prompt: 7 {HERE}", "num_images_per_prompt", "exactly one resolution"),
    (
        f'{MODELS_PATH}resolution: "1x1 2x2"\nnum_images_per_prompt: 7 {HERE}',
        "num_images_per_prompt",
        "exactly one resolution",
    ),
    (f'{STATIC}max_resolution: "512x512" {HERE}', "max_resolution", "together with resolution"),
    (
        f'{MODELS_PATH}resolution: "1x1 2x2"\nmax_resolution: "2x2" {HERE}',
        "max_resolution",
        "together with resolution",
    ),
    (
        f"{STATIC}num_images_per_prompt: 2\nmax_num_images_per_prompt: 2 {HERE}",
        "max_num_images_per_prompt",
        "together with num_images_per_prompt",
    ),
    (f'{MODELS_PATH}device: "NPU" {HERE}', "device", "exactly one resolution"),
    (f'{MODELS_PATH}device: "NPU"\nresolution: "1x1 2x2" {HERE}', "resolution", "exactly one resolution"),
    (f'{MODELS_PATH}device: " GPU MULTI:GPU.0,GPU.1 NPU " {HERE}', "device", "exactly one resolution"),
    (f'{MODELS_PATH}device: "CPU GPU" {HERE}', "device", "2 devices"),
    (f'{MODELS_PATH}device: "CPU GPU NPU CPU" {HERE}', "device", "4 devices"),
    # models_path
    (
        f'[type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {{ {HERE}\ndevice: "CPU"',
        "models_path",
        "required",
    ),
    (f'models_path: "" {HERE}', "models_path", "required"),
    (f'models_path: "graph.pbtxt" {HERE}', "models_path", "not a folder"),
    (f'models_path: "\\000" {HERE}', "models_path", "not a folder"),
    (f'models_path: "{"a" * 5000}" {HERE}', "models_path", "not a folder"),
    # device
    (f'{MODELS_PATH}device: "" {HERE}', "device", "0 devices"),
    (f'{MODELS_PATH}device: "cpu" {HERE}', "device", "not a device name"),
    (f'{MODELS_PATH}device: "CPU,GPU" {HERE}', "device", "not a device name"),
    (f'{MODELS_PATH}device: "NPU.0" {HERE}', "device", "exactly one resolution"),
    (f'{MODELS_PATH}device: "HETERO:NPU,CPU" {HERE}', "device", "exactly one resolution"),
    (f'{MODELS_PATH}device: "AUTO:CPU,NPU" {HERE}', "device", "exactly one resolution"),
    # plugin_config
    (f"{MODELS_PATH}plugin_config: '[1]' {HERE}", "plugin_config", "not an object"),
    (f"{MODELS_PATH}plugin_config: '\"x\"' {HERE}", "plugin_config", "not an object"),
    (f"{MODELS_PATH}plugin_config: 'null' {HERE}", "plugin_config", "not an object"),
    (f"{MODELS_PATH}plugin_config: '{{\"a\": NaN}}' {HERE}", "plugin_config", "NaN"),
    (f"{MODELS_PATH}plugin_config: '{{\"a\": -Infinity}}' {HERE}", "plugin_config", "Infinity"),
    (f"{MODELS_PATH}plugin_config: '{{\"a\": 1e999}}' {HERE}", "plugin_config", "too large"),
    (f'{MODELS_PATH}plugin_config: \'{{"a": 1, "a": 1}}\' {HERE}', "plugin_config", "twice"),
    (f"{MODELS_PATH}plugin_config: '{{\"a\": {'9' * 5000}}}' {HERE}", "plugin_config", "not JSON"),
    (f"{MODELS_PATH}plugin_config: '{'[' * 100_000}' {HERE}", "plugin_config", "too deeply"),
    # numbers
    (f"{MODELS_PATH}max_num_images_per_prompt: 0 {HERE}", "max_num_images_per_prompt", "greater than 0"),
    (f"{MODELS_PATH}default_num_inference_steps: 0 {HERE}", "default_num_inference_steps", "greater than 0"),
    (f"{MODELS_PATH}max_num_inference_steps: 0 {HERE}", "max_num_inference_steps", "greater than 0"),
    (f"{STATIC}num_images_per_prompt: 0 {HERE}", "num_images_per_prompt", "greater than 0"),
    (f"{MODELS_PATH}default_num_inference_steps: 101 {HERE}", "default_num_inference_steps", "which is 100"),
    (
        f"{MODELS_PATH}max_num_inference_steps: 8\ndefault_num_inference_steps: 9 {HERE}",
        "default_num_inference_steps",
        "which is 8",
    ),
    (f"{STATIC}guidance_scale: nan {HERE}", "guidance_scale", "from 0 up"),
    (f"{STATIC}guidance_scale: inf {HERE}", "guidance_scale", "from 0 up"),
    # resolutions
    (f'{MODELS_PATH}resolution: "" {HERE}', "resolution", "empty"),
    (f'{MODELS_PATH}default_resolution: "512" {HERE}', "default_resolution", "not a resolution"),
    (f'{MODELS_PATH}default_resolution: "" {HERE}', "default_resolution", "not a resolution"),
    (
        f'{MODELS_PATH}max_resolution: "512x512"\ndefault_resolution: "256x513" {HERE}',
        "default_resolution",
        "which is 512x512",
    ),
    # the text itself
    (f"{MODELS_PATH}max_resolutoin: 1 {HERE}", "max_resolutoin", "did you mean max_resolution?"),
    (f"{MODELS_PATH}xyzzy: 1 {HERE}", "xyzzy", "no field of this name"),
    (f'{MODELS_PATH}models_path: "b" {HERE}', "models_path", "twice"),
    (f'{MODELS_PATH}max_num_images_per_prompt: "1" {HERE}', "max_num_images_per_prompt", "integer"),
    (f"{MODELS_PATH}max_num_inference_steps: 18446744073709551616 {HERE}", "max_num_inference_steps", "out of range"),
    (f"{MODELS_PATH}device: CPU {HERE}", "device", "string"),
    (f"{MODELS_PATH}lora_adapters {{ mode: HOT }} {HERE}", "mode", "HOT"),
]


@pytest.mark.parametrize(("options", "field", "says"), OPTIONS)
def test_an_option_that_cannot_be_used_is_refused(tmp_path: Path, options: str, field: str, says: str) -> None:
    text = graph_text(options)
    if options.startswith("[type"):  # this case brings its own opening line
        text = EXAMPLE.replace('models_path: "./"', "").replace("Options]: {", f"Options]: {{ {HERE}")
    _check(_refused(tmp_path, text), text, field, says)


A = 'lora_adapters { alias: "a" path: "a.safetensors" }\n'
B = 'lora_adapters { alias: "b" path: "b.safetensors" }\n'
HALF = 'lora_adapters { alias: "a" path: "a.safetensors" alpha: 0.5 }\n'
STATIC_A, STATIC_B = (entry.replace(" }", " mode: STATIC }") for entry in (A, B))
COMPOSITE = "composite_lora_adapters {\n"

ADAPTERS = [
    (f'lora_adapters {{ path: "a.safetensors" }} {HERE}', "lora_adapters[0].alias", "required"),
    (A + f'lora_adapters {{ alias: "b" }} {HERE}', "lora_adapters[1].path", "required"),
    (A + f'lora_adapters {{\n alias: "b c" {HERE}\n }}', "lora_adapters[1].alias", "letters, digits"),
    (f'lora_adapters {{ alias: "ä" path: "a.safetensors" }} {HERE}', "lora_adapters[0].alias", "letters, digits"),
    (f'lora_adapters {{ alias: ".." path: "a.safetensors" }} {HERE}', "lora_adapters[0].alias", "letters, digits"),
    (A + f'lora_adapters {{ alias: "a" path: "b.safetensors" }} {HERE}', "lora_adapters[1].alias", "already"),
    (f'lora_adapters {{ alias: "model" path: "a.safetensors" }} {HERE}', "lora_adapters[0].alias", "already"),
    (
        f'lora_adapters [{{ alias: "a" path: "a.safetensors" }},\n {{ alias: "a" path: "b.safetensors" }}] {HERE}',
        "lora_adapters[1].alias",
        "already",
    ),
    (f'lora_adapters {{ alias: "x" path: "x.safetensors" }} {HERE}', "lora_adapters[0].path", "does not exist"),
    (f'lora_adapters {{ alias: "x" path: "/x.safetensors" }} {HERE}', "lora_adapters[0].path", "does not exist"),
    (f'lora_adapters {{ alias: "x" path: "c.ckpt" }} {HERE}', "lora_adapters[0].path", "not a .safetensors"),
    (f'lora_adapters {{ alias: "x" path: "\\000.safetensors" }} {HERE}', "lora_adapters[0].path", "does not exist"),
    (A.replace(" }", f" alpha: nan }} {HERE}"), "lora_adapters[0].alpha", "finite"),
    (A.replace(" }", f" alpha: -inf }} {HERE}"), "lora_adapters[0].alpha", "finite"),
    (STATIC_A + B.replace(" }", f" mode: DYNAMIC }} {HERE}"), "lora_adapters[1].mode", "cannot be combined"),
    (A + STATIC_B.rstrip() + f" {HERE}", "lora_adapters[1].mode", "cannot be combined"),
    (STATIC_A + STATIC_B.rstrip() + f" {HERE}", "lora_adapters[1]", "composite_lora_adapters"),
    (f'{A}composite_lora_adapters {{ alias: "m" }} {HERE}', "composite_lora_adapters[0].components", "at least one"),
    (
        f'{A}composite_lora_adapters {{ components {{ adapter_alias: "a" }} }} {HERE}',
        "composite_lora_adapters[0].alias",
        "required",
    ),
    (
        f'{A}{COMPOSITE} alias: "a" {HERE}\n components {{ adapter_alias: "a" }} }}',
        "composite_lora_adapters[0].alias",
        "already",
    ),
    (
        f'{A}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" }} }}\n{COMPOSITE} alias: "m" {HERE}\n }}',
        "composite_lora_adapters[1].alias",
        "already",
    ),
    (
        f'{A}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" }}\n'
        f'components {{ adapter_alias: "z" }} {HERE}\n }}',
        "composite_lora_adapters[0].components[1].adapter_alias",
        "not the alias",
    ),
    (
        f'{A}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" }}\n'
        f'components {{ adapter_alias: "a" }} {HERE}\n }}',
        "composite_lora_adapters[0].components[1].adapter_alias",
        "already in this composite",
    ),
    (
        f'{A}{COMPOSITE} alias: "m"\n components {{ alpha: 1 }} {HERE}\n }}',
        "composite_lora_adapters[0].components[0].adapter_alias",
        "required",
    ),
    (
        A.replace(" }", " mode: FUSE }") + f'{COMPOSITE} alias: "m" components {{ adapter_alias: "a" }} {HERE}\n }}',
        "composite_lora_adapters[0].components[0].adapter_alias",
        "FUSE",
    ),
    (
        f'{HALF}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" alpha: 0.7 }} {HERE}\n }}',
        "composite_lora_adapters[0].components[0].alpha",
        "twice",
    ),
    (
        f'{A}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" alpha: inf }} {HERE}\n }}',
        "composite_lora_adapters[0].components[0].alpha",
        "finite",
    ),
    (
        f'{STATIC_A}{COMPOSITE} alias: "m" components {{ adapter_alias: "a" alpha: 0.7 }} }}\n'
        f'{COMPOSITE} alias: "n" components {{ adapter_alias: "a" alpha: 0.6 }} {HERE}\n }}',
        "composite_lora_adapters[1].components[0].alpha",
        "one alpha",
    ),
]


@pytest.mark.parametrize(("adapters", "field", "says"), ADAPTERS)
def test_an_adapter_that_cannot_be_used_is_refused(tmp_path: Path, adapters: str, field: str, says: str) -> None:
    text = graph_text(f"{MODELS_PATH}{adapters}")
    _check(_refused(tmp_path, text), text, field, says)


IN, OUT = '"HTTP_REQUEST_PAYLOAD:input"', '"HTTP_RESPONSE_PAYLOAD:output"'
PACKET = '  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"\n'
NODE = "\nnode: {"

AROUND = [
    # what is replaced in the example, by what, field, why
    (PACKET, "", "node.input_side_packet", "IMAGE_GEN_NODE_RESOURCES:pipes"),
    (PACKET, f'input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipe" {HERE}\n', "node.input_side_packet", "exactly"),
    (PACKET, f'input_side_packet: "LLM_NODE_RESOURCES:pipes" {HERE}\n', "node.input_side_packet", "exactly"),
    (PACKET, f'input_side_packet: "a" {HERE}\n{PACKET}', "node.input_side_packet", "exactly"),
    (f"input_stream: {IN}\noutput", "output", "input_stream", "HTTP_REQUEST_PAYLOAD"),
    (f"\noutput_stream: {OUT}\n", "\n", "output_stream", "HTTP_RESPONSE_PAYLOAD"),
    (f"\noutput_stream: {OUT}\n", f'\noutput_stream: "X:output" {HERE}\n', "output_stream", "X:output"),
    (f"\n  output_stream: {OUT}\n", "\n", "node.output_stream", "HTTP_RESPONSE_PAYLOAD"),
    (f"\n  output_stream: {OUT}\n", f"\n  output_stream: {IN} {HERE}\n", "node.output_stream", "RESPONSE"),
    (f"\n  input_stream: {IN}\n", f'\n  input_stream: "input" {HERE}\n', "node.input_stream", "tagged"),
    (f"\n  input_stream: {IN}\n", '\n  input_stream: "HTTP_REQUEST_PAYLOAD:other"\n', "node.input_stream", "same name"),
    ('"ImageGenCalculator"', f'"HttpLLMCalculator" {HERE}', "node.calculator", "ImageGenCalculator"),
    ('  calculator: "ImageGenCalculator"\n', "", "node.calculator", "ImageGenCalculator"),
    (NODE, f'\nnode {{ calculator: "ImageGenCalculator" }}\nnode: {{ {HERE}', "node[1]", "exactly one node"),
    (NODE, NODE + "\n  options: { }", "options", "no field of this name"),
    (NODE, f"\nnod: {{ {HERE}", "nod", "did you mean node?"),
    (".ImageGenCalculatorOptions]: {", f".LLMCalculatorOptions]: {{ {HERE}", "node.node_options", "not known here"),
]


@pytest.mark.parametrize(("old", "new", "field", "says"), AROUND)
def test_the_fixed_parts_around_the_options_are_required(
    tmp_path: Path, old: str, new: str, field: str, says: str
) -> None:
    assert EXAMPLE.count(old) == 1
    text = EXAMPLE.replace(old, new)
    error = _refused(tmp_path, text)
    assert (error.field, says in error.reason) == (field, True), error
    if HERE in text:
        assert error.line == marked_line(text)


def test_a_missing_field_has_the_line_of_what_should_hold_it(tmp_path: Path) -> None:
    assert _refused(tmp_path, EXAMPLE.replace(PACKET, "")).line == 4  # node: {


@pytest.mark.parametrize(
    "options",
    [
        "",
        "node_options { }",
        'node_options { type_url: "type.googleapis.com/mediapipe.CalculatorGraphConfig" }',
        'node_options { type_url: "type.googleapis.com/mediapipe.ImageGenCalculatorOptions" value: "\\377" }',
        "node_options { [type.googleapis.com/mediapipe.ImageGenCalculatorOptions] {} } node_options { }",
    ],
)
def test_the_options_are_required_exactly_once(tmp_path: Path, options: str) -> None:
    error = _refused(tmp_path, EXAMPLE[: EXAMPLE.index("node_options")] + f"{options} }}")
    assert error.field == "node.node_options"
    assert error.line


def test_a_graph_without_a_node_is_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path, EXAMPLE[: EXAMPLE.index("node:")]).field == "node"


def test_lines_are_not_misled_by_comments_and_strings(tmp_path: Path) -> None:
    text = graph_text(
        f"""models_path: "./"  # device: "NPU"
        # device: "NPU" {{
        plugin_config: '{{"device: [": "# {{ \\\\\\' "}}'
        device: "x" {HERE}"""
    )
    _check(_refused(tmp_path, text), text, "device", "not a device name")
