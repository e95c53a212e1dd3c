from pathlib import Path

import pytest

from graphs.definition.graph import Graph, LoraMode
from graphs.definition.reader import graph_with_defaults, read_graph
from graphs.errors import GraphError
from graphs.resolution import Resolution
from tests.graphs.definition.graph_files import EXAMPLE, FUSE_AND_DYNAMIC, MODELS, graph_text, write_graph


def _read(folder: Path, options: str, *adapters: str, device: str = "CPU") -> Graph:
    return read_graph(write_graph(folder, graph_text(options), *adapters), "model", default_device=device)


def test_the_documented_example_has_the_documented_defaults(tmp_path: Path) -> None:
    graph = read_graph(write_graph(tmp_path), "FLUX.1-schnell-int4-ov")
    assert graph == Graph(name="FLUX.1-schnell-int4-ov", path=tmp_path / "graph.pbtxt", models_path=tmp_path)
    assert graph.options() == {
        "models_path": str(tmp_path),
        "device": "CPU",
        "plugin_config": {},
        "max_resolution": "4096x4096",
        "default_resolution": None,
        "max_num_images_per_prompt": 10,
        "default_num_inference_steps": 50,
        "max_num_inference_steps": 100,
        "resolution": None,
        "num_images_per_prompt": None,
        "guidance_scale": None,
        "lora_adapters": [],
        "composite_lora_adapters": [],
    }


def test_the_documented_adapters_are_read_word_for_word(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    for name in ("style", "pokemon", "anime"):
        (loras / f"{name}.safetensors").write_bytes(b"")
    text = FUSE_AND_DYNAMIC.replace("/loras/", f"{loras}/")
    graph = _read(tmp_path / "model", f'models_path: "./"\n{text}')
    assert [(a.alias, a.path.name, a.alpha, a.alpha_given, a.mode) for a in graph.lora_adapters] == [
        ("style_base", "style.safetensors", 1.0, True, LoraMode.FUSE),
        ("pokemon", "pokemon.safetensors", 1.0, True, LoraMode.DYNAMIC),
        ("anime", "anime.safetensors", 0.8, True, LoraMode.DYNAMIC),
    ]


def test_every_option_is_read(tmp_path: Path) -> None:
    graph = _read(
        tmp_path,
        """
        models_path: "./"
        device: "CPU GPU NPU"
        plugin_config: '{"NUM_STREAMS": 2, "CACHE_DIR": "/cache"}'
        default_resolution: "512x768"
        default_num_inference_steps: 4
        max_num_inference_steps: 8
        resolution: "512x768"
        num_images_per_prompt: 20
        guidance_scale: 7.2
        """,
    )
    assert graph.device == ("CPU", "GPU", "NPU")
    assert graph.plugin_config == {"NUM_STREAMS": 2, "CACHE_DIR": "/cache"}
    assert (graph.default_resolution, graph.resolution) == (Resolution(512, 768), (Resolution(512, 768),))
    assert (graph.default_num_inference_steps, graph.max_num_inference_steps) == (4, 8)
    assert (graph.num_images_per_prompt, graph.max_num_images_per_prompt) == (20, 20)
    assert graph.guidance_scale == 7.2
    assert graph.is_static


@pytest.mark.parametrize(
    "text",
    [
        f"# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO\n{EXAMPLE}",
        EXAMPLE.replace("node: {", "node {").replace("node_options: {", "node_options {"),
        EXAMPLE.replace("node: {", "node <").removesuffix("}\n") + ">\n",
        EXAMPLE.replace('"', "'"),
        EXAMPLE.replace('device: "CPU"', 'device: "CPU", '),
        EXAMPLE.replace('device: "CPU"', 'device: "CPU"; # why: { [ "'),
        EXAMPLE.replace('"./"', '"." "/"'),
        EXAMPLE.replace("\n", "\r\n"),
        "\ufeff" + EXAMPLE,
        EXAMPLE.replace(" / ", "/"),
        EXAMPLE.replace('"HTTP_REQUEST_PAYLOAD:input"', '["HTTP_REQUEST_PAYLOAD:input"]'),
        EXAMPLE.replace("node: {", "node: [{").removesuffix("}\n") + "}]\n",
        EXAMPLE + 'num_threads: 4 max_queue_size: 1 package: "a" type: "b" executor { name: "" type: "Thread" }',
        EXAMPLE + 'input_stream_handler { input_stream_handler: "DefaultInputStreamHandler" }',
        EXAMPLE + "profiler_config { trace_enabled: true } report_deadlock: true",
        EXAMPLE.replace(
            "  name:",
            """  input_stream_handler {
                 input_stream_handler: "SyncSetInputStreamHandler",
                 options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
                   sync_set { tag_index: "HTTP_REQUEST_PAYLOAD:0" } } } }
               name:""",
        ),
    ],
)
def test_every_way_to_write_the_example_reads_the_same(tmp_path: Path, text: str) -> None:
    expected = Graph(name="m", path=tmp_path / "graph.pbtxt", models_path=tmp_path)
    assert read_graph(write_graph(tmp_path, text), "m") == expected


def test_the_default_device_is_for_graphs_without_one(tmp_path: Path) -> None:
    assert _read(tmp_path, 'models_path: "./"', device="GPU.1").device == ("GPU.1",)
    assert _read(tmp_path, 'models_path: "./" device: "CPU"', device="GPU.1").device == ("CPU",)


@pytest.mark.parametrize(
    "device", ["CPU", "GPU", "GPU.1", "AUTO", "AUTO:GPU,CPU", "HETERO:GPU.0,CPU", "MULTI:GPU(2),CPU"]
)
def test_device_names_of_the_runtime_are_taken(tmp_path: Path, device: str) -> None:
    assert _read(tmp_path, f'models_path: "./" device: "{device}"').device == (device,)


def test_models_path_is_relative_to_the_graph_or_absolute(tmp_path: Path) -> None:
    assert _read(tmp_path / "a", f'models_path: "{MODELS / "sd"}"').models_path == MODELS / "sd"
    (tmp_path / "b" / "part").mkdir(parents=True)
    assert _read(tmp_path / "b", 'models_path: "part"').models_path == tmp_path / "b" / "part"
    assert _read(tmp_path / "b", 'models_path: "../a"').models_path.samefile(tmp_path / "a")


@pytest.mark.parametrize("config", ["{}", "", "  ", "{ }"])
def test_an_empty_plugin_config_is_none(tmp_path: Path, config: str) -> None:
    assert _read(tmp_path, f'models_path: "./" plugin_config: "{config}"').plugin_config == {}


def test_the_only_resolution_is_the_default_one(tmp_path: Path) -> None:
    assert _read(tmp_path, 'models_path: "./" resolution: "64x32"').default_resolution == Resolution(64, 32)
    several = _read(tmp_path, 'models_path: "./" resolution: "64x32 8192x8192" default_resolution: "8192x8192"')
    assert not several.is_static
    assert several.default_resolution == Resolution(8192, 8192)
    assert _read(tmp_path, 'models_path: "./" resolution: "64x32 32x64"').default_resolution is None


def test_a_lowered_maximum_lowers_the_default_steps(tmp_path: Path) -> None:
    graph = _read(tmp_path, 'models_path: "./" max_num_inference_steps: 20')
    assert (graph.default_num_inference_steps, graph.max_num_inference_steps) == (20, 20)


def test_a_component_without_alpha_has_its_adapters(tmp_path: Path) -> None:
    graph = _read(
        tmp_path,
        """models_path: "./"
        lora_adapters { alias: "a" path: "a.safetensors" alpha: 0.7 }
        lora_adapters { alias: "b" path: "b.safetensors" }
        composite_lora_adapters {
          alias: "mix"
          components { adapter_alias: "a" }
          components { adapter_alias: "b" alpha: -0.5 }
        }
        composite_lora_adapters { alias: "one" components { adapter_alias: "a" alpha: 1.0 } }""",
        "a.safetensors",
        "b.safetensors",
    )
    mix, one = graph.composite_lora_adapters
    assert [(c.adapter_alias, c.alpha, c.alpha_given) for c in mix.components] == [
        ("a", 0.7, False),
        ("b", -0.5, True),
    ]
    assert (one.components[0].alpha, one.components[0].alpha_given) == (1.0, True)
    assert [(a.alpha, a.alpha_given) for a in graph.lora_adapters] == [(0.7, True), (1.0, False)]


def test_on_an_npu_adapters_are_static_unless_said(tmp_path: Path) -> None:
    graph = _read(
        tmp_path,
        """models_path: "./" device: "NPU" resolution: "64x64"
        lora_adapters { alias: "a" path: "a.safetensors" alpha: 0.5 }
        lora_adapters { alias: "b" path: "a.safetensors" mode: FUSE }
        composite_lora_adapters { alias: "c" components { adapter_alias: "a" } }""",
        "a.safetensors",
    )
    assert [a.mode for a in graph.lora_adapters] == [LoraMode.STATIC, LoraMode.FUSE]
    assert graph.compiled_alphas == {"a": 0.5, "b": 1.0}


def test_a_folder_without_a_graph_has_the_defaults() -> None:
    graph = graph_with_defaults(MODELS / "sd", "sd", default_device="GPU")
    assert graph == Graph(name="sd", models_path=MODELS / "sd", device=("GPU",))


@pytest.mark.parametrize(("folder", "device"), [("sd", "NPU"), ("sd", "a b"), ("absent", "CPU")])
def test_defaults_that_cannot_be_served_are_refused(folder: str, device: str) -> None:
    with pytest.raises(GraphError, match=r"graph\.pbtxt") as refusal:
        graph_with_defaults(MODELS / folder, "sd", default_device=device)
    assert refusal.value.path == MODELS / folder


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "UTF-8"),
        (EXAMPLE.encode() + b'\n# "\xe9"', "line 18"),
        (b"#" * (1024 * 1024 + 1), "1 MiB"),
        (b"node < " * 20_000, "no field|nested"),
        (b"", "input_stream"),
    ],
)
def test_a_file_that_is_no_text_of_a_graph_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "graph.pbtxt"
    path.write_bytes(content)
    with pytest.raises(GraphError, match=says):
        read_graph(path, "m")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    inner = "[type.googleapis.com/google.protobuf.Any] {"
    text = "node { node_options {" + inner * 5000 + "}" * 5000 + "}}"
    with pytest.raises(GraphError, match="nested too deeply"):
        read_graph(write_graph(tmp_path, text), "m")
    with pytest.raises(GraphError, match="input_stream"):
        read_graph(write_graph(tmp_path, "node { node_options {" + inner * 50 + "}" * 50 + "}}"), "m")


@pytest.mark.parametrize("name", ["absent.pbtxt", ".", "a" * 5000])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GraphError, match="no such file"):
        read_graph(tmp_path / name, "m")


@pytest.mark.parametrize(
    ("word", "put"),
    [('"./"', '"\\000"'), ('"./"', f'"{"a" * 5000}"'), ('"CPU"', '"\\377"'), ('"CPU"', '"\ud800"')],
    ids=["nul in a path", "long path", "no UTF-8", "surrogate"],
)
def test_a_word_that_is_no_text_is_refused(tmp_path: Path, word: str, put: str) -> None:
    damaged = EXAMPLE.replace(word, put)
    assert damaged != EXAMPLE
    path = tmp_path / "graph.pbtxt"
    path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    with pytest.raises(GraphError) as refusal:
        read_graph(path, "m")
    assert refusal.value.path == path


def test_a_dynamic_adapter_on_the_npu_is_compiled_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    adapter = 'lora_adapters { alias: "a" path: "a.safetensors" mode: DYNAMIC }'
    options = f'models_path: "./" device: "NPU" resolution: "64x64"\n{adapter}'
    path = write_graph(tmp_path, graph_text(options))
    assert read_graph(path, "m").lora_adapters[0].mode is LoraMode.STATIC
    assert "The NPU cannot switch adapters between requests; a is STATIC here." in caplog.text
