from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, Graph, LoraAdapter, LoraMode
from graphs.definition.image_gen_calculator_pb2 import ImageGenCalculatorOptions
from graphs.definition.reader import graph_with_defaults, read_graph
from graphs.definition.writer import format_graph
from graphs.resolution import Resolution
from tests.graphs.definition.graph_files import EXAMPLE, MODELS, write_graph
from tests.support.ovms_graphs import read_as_model_server

FILES = ("a.safetensors", "ukiyo-e art's.safetensors", 'one "two" \\.safetensors')

aliases = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,10}", fullmatch=True).filter(lambda alias: alias != "model")
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(1, 2**64 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
resolutions = st.builds(Resolution, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
devices = st.sampled_from([("CPU",), ("GPU.1",), ("CPU", "GPU", "MULTI:GPU.0,GPU.1")])


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    """Return resolutions and the options that depend on them: free, listed, or static (also on an NPU)."""
    listed = tuple(draw(st.lists(resolutions, max_size=3, unique=True)))
    if not listed:
        limit = draw(resolutions)
        inside = st.builds(Resolution, st.integers(1, limit.width), st.integers(1, limit.height))
        default = draw(st.none() | inside)
        images = {"max_num_images_per_prompt": draw(counts)}
        return {"max_resolution": limit, "default_resolution": default, "device": draw(devices), **images}
    if len(listed) > 1:
        default = draw(st.none() | st.sampled_from(listed))
        return {"resolution": listed, "default_resolution": default, "device": draw(devices)}
    batch = draw(st.none() | st.integers(1, 2**63 - 1))
    return {
        "resolution": listed,
        "default_resolution": listed[0],
        "device": draw(devices | st.sampled_from([("NPU",), ("CPU", "GPU", "NPU.0")])),
        "guidance_scale": draw(st.none() | st.floats(0, 100)),
        **({"num_images_per_prompt": batch, "max_num_images_per_prompt": batch} if batch else {}),
    }


def weights(draw: st.DrawFn, *, inherited: float | None = None) -> dict[str, Any]:
    """Return an alpha that is written, or the one that takes effect if none is."""
    other_alpha_is_used = inherited not in (None, 1.0)
    if draw(st.booleans()):
        return {"alpha": 1.0 if other_alpha_is_used else draw(finite), "alpha_given": True}
    return {"alpha": 1.0 if inherited is None else inherited, "alpha_given": False}


@st.composite
def loras(draw: st.DrawFn, folder: Path, *, npu: bool) -> dict[str, Any]:
    names = draw(st.lists(aliases, max_size=5, unique=True))
    mode = LoraMode.STATIC if npu else draw(st.sampled_from([LoraMode.STATIC, LoraMode.DYNAMIC]))
    adapters = []
    for alias in names[:3]:
        path = folder / draw(st.sampled_from(FILES))
        modes = st.sampled_from([mode, LoraMode.FUSE])
        adapters.append(LoraAdapter(alias=alias, path=path, mode=draw(modes), **weights(draw)))
    selectable = [adapter for adapter in adapters if adapter.mode is not LoraMode.FUSE]
    composites = []
    # A second composite could give a compiled adapter another alpha.
    for alias in (names[3:4] if mode is LoraMode.STATIC else names[3:]) if selectable else ():
        parts = draw(st.lists(st.sampled_from(selectable), min_size=1, unique_by=lambda adapter: adapter.alias))
        components = tuple(
            CompositeComponent(adapter_alias=part.alias, **weights(draw, inherited=part.alpha)) for part in parts
        )
        composites.append(CompositeLoraAdapter(alias=alias, components=components))
    if mode is LoraMode.STATIC and len(selectable) > 1 and not composites:
        adapters = []
    return {"lora_adapters": tuple(adapters), "composite_lora_adapters": tuple(composites)}


@st.composite
def graphs(draw: st.DrawFn, folder: Path) -> Graph:
    chosen = draw(limits())
    most = draw(counts)
    return Graph(
        name="model",
        path=folder / "graph.pbtxt",
        models_path=draw(st.sampled_from([folder, folder / "part", MODELS / "sd"])),
        plugin_config=draw(st.dictionaries(text, json_values, max_size=3)),
        max_num_inference_steps=most,
        default_num_inference_steps=draw(st.integers(1, most)),
        **chosen,
        **draw(loras(folder, npu=any("NPU" in part for part in chosen["device"]))),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_graph(folder, EXAMPLE, *FILES)
    (folder / "part").mkdir()
    return folder


@pytest.mark.usefixtures("long_computation")
@given(data=st.data())
def test_a_graph_reads_back_as_it_was_written(folder: Path, data: st.DataObject) -> None:
    graph = data.draw(graphs(folder))
    assert graph.path
    graph.path.write_bytes(format_graph(graph).encode())
    assert read_graph(graph.path, "model") == graph
    assert read_as_model_server(graph.path.read_text(encoding="utf-8")).models_path


def test_a_default_graph_is_written_as_documented(tmp_path: Path) -> None:
    assert format_graph(read_graph(write_graph(tmp_path), "model")) == EXAMPLE


def test_a_folder_without_a_graph_is_written_for_itself(tmp_path: Path) -> None:
    assert format_graph(graph_with_defaults(tmp_path, "model")) == EXAMPLE


def test_paths_inside_the_folder_are_written_relative(tmp_path: Path) -> None:
    graph = Graph(
        name="m",
        path=tmp_path / "graph.pbtxt",
        models_path=tmp_path / "part",
        plugin_config={"NUM_STREAMS": 2},
        lora_adapters=(LoraAdapter(alias="a", path=tmp_path / "loras" / "a.safetensors", alpha=0.5),),
    )
    written = format_graph(graph)
    assert 'models_path: "part"' in written
    assert "plugin_config: '{\"NUM_STREAMS\": 2}'" in written
    assert 'lora_adapters { alias: "a" path: "loras/a.safetensors" alpha: 0.5 mode: DYNAMIC }' in written
    assert str(tmp_path / "part") in format_graph(graph.model_copy(update={"path": Path("/elsewhere/graph.pbtxt")}))


def test_the_graph_has_every_option_of_the_proto_with_its_default() -> None:
    fields = {field.name: field for field in ImageGenCalculatorOptions.DESCRIPTOR.fields}
    assert set(fields) == set(Graph.model_fields) - {"name", "path"}
    for name, field in fields.items():
        if field.has_default_value:
            assert Graph.model_fields[name].default == field.default_value
