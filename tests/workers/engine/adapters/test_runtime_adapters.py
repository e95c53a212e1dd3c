"""Adapters that are added to and removed from a loaded engine; the others draw the same images as before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from graphs.definition.graph import LoraAdapter, LoraMode
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import read_model_facts
from graphs.resolution import Resolution
from tests.workers.engine.adapter_support import UNET, draw_image, raw_image, write_kohya, write_native
from tests.workers.engine.engine_support import MODELS, SIDE, load_engine, make_graph, make_request, never_stop
from workers.engine.openvino_engine import OpenVinoEngine
from workers.engine.pipelines import load_pipelines
from workers.engine.simulated import SimulatedEngine

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

OTHER = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (32, 32),
    "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v": (32, 32),
}


def loaded(*adapters: LoraAdapter, family: str = "sd", **options: Any) -> OpenVinoEngine:
    return load_engine(make_graph(MODELS / family, lora_adapters=adapters, **options))


def count_compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []

    def counted(options: Any) -> Any:
        calls.append(options)
        return load_pipelines(options)

    monkeypatch.setattr("workers.engine.openvino_engine.load_pipelines", counted)
    return calls


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_an_adapter_for_a_graph_that_has_none(family: str, tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.safetensors", family, 1)
    engine = loaded(family=family)
    base = draw_image(engine, family)

    engine.add_adapter("new", path)

    np.testing.assert_array_equal(draw_image(engine, family, new=1.0), raw_image(family, [(path, 1.0)]))
    np.testing.assert_array_equal(draw_image(engine, family, new=0.3), raw_image(family, [(path, 0.3)]))
    np.testing.assert_array_equal(draw_image(engine, family), base)
    engine.remove_adapter("new")
    np.testing.assert_array_equal(draw_image(engine, family), base)
    with pytest.raises(EngineError, match="'new' is not loaded"):
        draw_image(engine, family, new=1.0)


@pytest.mark.parametrize("operation", list(Operation))
def test_an_adapter_beside_another_in_the_same_and_in_other_layers(
    operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, same = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    other = write_kohya(tmp_path / "other.safetensors", OTHER, 3)
    engine = loaded(LoraAdapter(alias="first", path=first))
    before = draw_image(engine, "sd", operation, first=1.0)
    compilations = count_compilations(monkeypatch)

    engine.add_adapter("same", same)
    assert not compilations
    engine.add_adapter("other", other)
    assert len(compilations) == 1

    blend = [(first, 0.5), (same, 0.4), (other, 0.8)]
    drawn = draw_image(engine, "sd", operation, first=0.5, same=0.4, other=0.8)
    np.testing.assert_array_equal(drawn, raw_image("sd", blend, operation=operation))
    np.testing.assert_array_equal(
        draw_image(engine, "sd", operation, other=1.0), raw_image("sd", [(other, 1.0)], operation=operation)
    )
    np.testing.assert_array_equal(draw_image(engine, "sd", operation, first=1.0), before)
    engine.remove_adapter("other")
    engine.remove_adapter("first")
    engine.add_adapter("first", other)  # the layers of the removed adapter are still compiled
    assert len(compilations) == 1
    np.testing.assert_array_equal(
        draw_image(engine, "sd", operation, first=1.0), raw_image("sd", [(other, 1.0)], operation=operation)
    )
    np.testing.assert_array_equal(draw_image(engine, "sd", operation), raw_image("sd", operation=operation))


def test_an_adapter_on_a_fused_base(tmp_path: Path) -> None:
    fused, new = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    engine = loaded(LoraAdapter(alias="fused", path=fused, mode=LoraMode.FUSE, alpha=0.8))

    engine.add_adapter("new", new)

    np.testing.assert_array_equal(draw_image(engine, "sd", new=0.6), raw_image("sd", [(fused, 0.8), (new, 0.6)]))
    np.testing.assert_array_equal(draw_image(engine, "sd"), raw_image("sd", [(fused, 0.8)]))
    with pytest.raises(EngineError, match="'fused' is compiled into 'tiny'; it cannot be removed"):
        engine.remove_adapter("fused")


def test_an_adapter_for_a_static_graph(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.safetensors", "sd", 1)
    engine = loaded(resolution=(Resolution(SIDE, SIDE),))
    base = draw_image(engine, "sd")

    engine.add_adapter("new", path)

    np.testing.assert_array_equal(draw_image(engine, "sd"), base)
    # With fixed shapes, one number of 12288 was rounded the other way.
    drawn, expected = draw_image(engine, "sd", new=1.0), raw_image("sd", [(path, 1.0)])
    np.testing.assert_allclose(drawn.astype(int), expected.astype(int), atol=1)


def test_an_adapter_that_cannot_be_added_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_native(tmp_path / "first.safetensors", "sd", 1)
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"no tensors" * 99)
    engine = loaded(LoraAdapter(alias="first", path=first))
    before = draw_image(engine, "sd", first=1.0)
    compilations = count_compilations(monkeypatch)

    for path in (garbage, tmp_path / "away.safetensors", write_native(tmp_path / "flux.safetensors", "flux", 1)):
        with pytest.raises(EngineError, match=rf"'new' \({path}\) cannot be used"):
            engine.add_adapter("new", path)
    with pytest.raises(EngineError, match="There is an adapter 'first' already"):
        engine.add_adapter("first", first)
    with pytest.raises(EngineError, match="'unknown' is not loaded"):
        engine.remove_adapter("unknown")

    assert not compilations
    np.testing.assert_array_equal(draw_image(engine, "sd", first=1.0), before)


def test_a_compilation_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_native(tmp_path / "first.safetensors", "sd", 1)
    engine = loaded(LoraAdapter(alias="first", path=first))
    before = draw_image(engine, "sd", first=1.0)
    failures = [EngineError("No memory.")]

    def fail_once(options: Any) -> Any:
        if failures:
            raise failures.pop()
        return load_pipelines(options)

    monkeypatch.setattr("workers.engine.openvino_engine.load_pipelines", fail_once)
    with pytest.raises(EngineError, match="No memory"):
        engine.add_adapter("new", write_kohya(tmp_path / "new.safetensors", OTHER, 3))

    np.testing.assert_array_equal(draw_image(engine, "sd", first=1.0), before)
    with pytest.raises(EngineError, match="'new' is not loaded"):
        draw_image(engine, "sd", new=1.0)


def test_engines_that_cannot_switch_adapters(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.safetensors", "sd", 1)
    static = loaded(LoraAdapter(alias="static", path=path, mode=LoraMode.STATIC))
    unloaded = OpenVinoEngine(
        make_graph(MODELS / "sd"), read_model_facts(MODELS / "sd"), device=("CPU",), cache_dir=None
    )

    with pytest.raises(EngineError, match=r"compiled in \(STATIC\); none can be added"):
        static.add_adapter("new", path)
    with pytest.raises(EngineError, match="is not loaded"):
        unloaded.add_adapter("new", path)
    np.testing.assert_array_equal(draw_image(static, "sd", static=1.0), raw_image("sd", [(path, 1.0)]))


def test_a_finer_type_is_not_rounded_to_that_of_the_others(tmp_path: Path) -> None:
    fine = write_kohya(tmp_path / "fine.safetensors", UNET, 1)
    coarse = tmp_path / "coarse.safetensors"
    save_file({name: values.astype(np.float16) for name, values in load_file(fine).items()}, coarse)
    engine = loaded(LoraAdapter(alias="coarse", path=coarse))

    engine.add_adapter("fine", fine)

    np.testing.assert_array_equal(draw_image(engine, "sd", fine=1.0), raw_image("sd", [(fine, 1.0)]))
    np.testing.assert_array_equal(draw_image(engine, "sd", coarse=1.0), raw_image("sd", [(coarse, 1.0)]))


def test_the_simulated_engine_accepts_any_adapter(tmp_path: Path) -> None:
    engine = SimulatedEngine(0)
    engine.add_adapter("x", tmp_path / "x.safetensors")
    facts = read_model_facts(MODELS / "sd")

    assert engine.generate(make_request(facts, Operation.GENERATION), None, never_stop).images
    engine.remove_adapter("x")
