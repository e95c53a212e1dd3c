"""In every mode, adapters draw in f32 exactly the pixels that OpenVINO GenAI draws with them alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs.definition.graph import CompositeComponent, CompositeLoraAdapter, LoraAdapter, LoraMode
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.resolution import Resolution
from tests.workers.engine.adapter_support import (
    LAYERS,
    MODES,
    RANK,
    UNET,
    distance,
    draw_image,
    merge_by_hand,
    products,
    raw_image,
    rename,
    write_diffusers,
    write_kohya,
    write_native,
)
from tests.workers.engine.engine_support import MODELS, SIDE, load_engine, make_graph
from workers.engine.openvino_engine import OpenVinoEngine

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("openvino_runtime")]

FAMILIES = ("sd", "sdxl", "sd3", "flux")
OPERATIONS = tuple(Operation)
# x (W + B A) rounds differently than x W + x B A: the mean difference was up to 0.001 of 255.
MERGED = 0.01
# GenAI always merges in bf16 where the CPU has it: the error was up to 2.5 % of the change by the adapters.
FUSED = 0.05


def engine_with(
    family: str, *adapters: tuple[str, Path, LoraMode, float], composite: float | None = None
) -> OpenVinoEngine:
    entries = tuple(LoraAdapter(alias=a, path=path, mode=mode, alpha=alpha) for a, path, mode, alpha in adapters)
    composites: tuple[CompositeLoraAdapter, ...] = ()
    if composite is not None:
        components = tuple(CompositeComponent(adapter_alias=a[0], alpha=composite) for a in adapters)
        composites = (CompositeLoraAdapter(alias="mix", components=components),)
    return load_engine(make_graph(MODELS / family, lora_adapters=entries, composite_lora_adapters=composites))


@pytest.mark.parametrize("family", FAMILIES)
def test_dynamic_draws_what_genai_draws(family: str, tmp_path: Path) -> None:
    a, b = (write_native(tmp_path / f"{seed}.safetensors", family, seed) for seed in (1, 2))
    engine = engine_with(family, ("a", a, LoraMode.DYNAMIC, 1.0), ("b", b, LoraMode.DYNAMIC, 1.0))
    base = raw_image(family)
    with_a = raw_image(family, [(a, 1.0)])
    blend = raw_image(family, [(a, 0.7), (b, 0.5)])

    np.testing.assert_array_equal(draw_image(engine, family), base)
    np.testing.assert_array_equal(draw_image(engine, family, a=1.0), with_a)
    np.testing.assert_array_equal(draw_image(engine, family, b=1.0), raw_image(family, [(b, 1.0)]))
    np.testing.assert_array_equal(draw_image(engine, family, a=0.4), raw_image(family, [(a, 0.4)]))
    np.testing.assert_array_equal(draw_image(engine, family, a=0.7, b=0.5), blend)
    np.testing.assert_array_equal(draw_image(engine, family), base)
    assert min(distance(base, with_a), distance(base, blend), distance(with_a, blend)) > 0.05


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_sees_the_same_adapters(operation: Operation, tmp_path: Path) -> None:
    a, b = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    engine = engine_with("sd", ("a", a, LoraMode.DYNAMIC, 1.0), ("b", b, LoraMode.DYNAMIC, 1.0))
    for other in OPERATIONS:
        draw_image(engine, "sd", other, b=0.3)

    with_a = draw_image(engine, "sd", operation, a=1.0)

    np.testing.assert_array_equal(with_a, raw_image("sd", [(a, 1.0)], operation=operation))
    np.testing.assert_array_equal(draw_image(engine, "sd", operation), raw_image("sd", operation=operation))


def test_an_alpha_of_any_part_of_a_blend_takes_effect(tmp_path: Path) -> None:
    """GenAI by itself applies a new alpha of the last adapter only."""
    a, b = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    engine = engine_with("sd", ("a", a, LoraMode.DYNAMIC, 1.0), ("b", b, LoraMode.DYNAMIC, 1.0))

    for alpha in (0.7, 0.2, 0.7, *np.linspace(-1, 1, 9), 0.2):
        drawn = draw_image(engine, "sd", a=float(alpha), b=0.5)
        if alpha in (0.7, 0.2):
            np.testing.assert_array_equal(drawn, raw_image("sd", [(a, float(alpha)), (b, 0.5)]))


def test_the_same_adapter_under_every_name_form(tmp_path: Path) -> None:
    kohya = write_kohya(tmp_path / "kohya.safetensors", UNET, 1)
    unet = write_diffusers(tmp_path / "unet.safetensors", UNET, 1, start="unet.")
    forms = {
        "kohya": kohya,
        "diffusers": unet,
        "peft": write_diffusers(tmp_path / "peft.safetensors", UNET, 1, start="base_model.model."),
        "old": rename(
            rename(unet, tmp_path / "half.safetensors", ".lora_A.", ".lora.down."),
            tmp_path / "old.safetensors",
            ".lora_B.",
            ".lora.up.",
        ),
    }
    engine = engine_with("sd", *((name, path, LoraMode.DYNAMIC, 1.0) for name, path in forms.items()))
    expected = raw_image("sd", [(kohya, 1.0)])

    for name in forms:
        np.testing.assert_array_equal(
            draw_image(engine, "sd", Operation.GENERATION, **{name: 1.0}), expected, err_msg=name
        )


@pytest.mark.parametrize(
    ("family", "start", "native"),
    [
        ("sd", "lora_te1_", "lora_te_"),
        ("sdxl", "lora_te1_", "lora_te1_"),
        ("sdxl", "lora_te2_", "lora_te2_"),
        ("flux", "lora_te1_", "lora_te_"),
    ],
)
def test_text_encoders_take_effect(family: str, start: str, native: str, tmp_path: Path) -> None:
    layers = {"text_model.encoder.layers.0.self_attn.q_proj": (32, 32)}
    ours = write_kohya(tmp_path / "ours.safetensors", layers, 1, start=start)
    theirs = write_kohya(tmp_path / "theirs.safetensors", layers, 1, start=native)
    engine = engine_with(family, ("te", ours, LoraMode.DYNAMIC, 1.0))

    drawn = draw_image(engine, family, te=1.0)

    np.testing.assert_array_equal(drawn, raw_image(family, [(theirs, 1.0)]))
    assert distance(drawn, draw_image(engine, family)) > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_static_is_what_genai_draws_in_both_modes(family: str, tmp_path: Path) -> None:
    a, b = (write_native(tmp_path / f"{seed}.safetensors", family, seed) for seed in (1, 2))
    engine = engine_with(family, ("a", a, LoraMode.STATIC, 1.0), ("b", b, LoraMode.STATIC, 1.0), composite=0.6)
    blend = [(a, 0.6), (b, 0.6)]

    drawn = draw_image(engine, family, a=0.6, b=0.6)

    if family != "sd3":  # GenAI refuses to generate with SD3 in this mode
        np.testing.assert_array_equal(drawn, raw_image(family, blend, mode=MODES.MODE_STATIC))
    # Weights that are added up beforehand are summed in another order: by the processor, a value is 1 of 255 off.
    np.testing.assert_allclose(drawn.astype(int), raw_image(family, blend).astype(int), atol=1)
    np.testing.assert_array_equal(drawn, draw_image(engine, family, a=0.1))  # compiled in, so no request changes it
    assert distance(drawn, raw_image(family)) > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_fuse_is_the_weights_merged_by_hand(family: str, tmp_path: Path) -> None:
    a, b = (write_native(tmp_path / f"{seed}.safetensors", family, seed) for seed in (1, 2))
    engine = engine_with(family, ("a", a, LoraMode.FUSE, 0.8), ("b", b, LoraMode.FUSE, 0.3))
    added = products(LAYERS[family], 1, 0.8)
    for module, values in products(LAYERS[family], 2, 0.3).items():
        added[module] = added[module] + values
    merged = raw_image(merge_by_hand(family, tmp_path, added))

    drawn = draw_image(engine, family)

    assert distance(drawn, merged) < FUSED * distance(merged, raw_image(family))
    assert distance(merged, raw_image(family)) > 0.05
    mode = MODES.MODE_DYNAMIC if family == "sd3" else MODES.MODE_FUSE
    np.testing.assert_array_equal(drawn, raw_image(family, [(a, 0.8), (b, 0.3)], mode=mode))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_base_with_switched_adapters_on_top(family: str, tmp_path: Path) -> None:
    fused, top = (write_native(tmp_path / f"{seed}.safetensors", family, seed) for seed in (1, 2))
    engine = engine_with(family, ("fused", fused, LoraMode.FUSE, 0.8), ("top", top, LoraMode.DYNAMIC, 1.0))
    model = merge_by_hand(family, tmp_path, products(LAYERS[family], 1, 0.8))

    base, both = draw_image(engine, family), draw_image(engine, family, top=1.0)

    np.testing.assert_array_equal(base, raw_image(family, [(fused, 0.8)]))
    np.testing.assert_array_equal(both, raw_image(family, [(fused, 0.8), (top, 1.0)]))
    assert distance(base, raw_image(model)) < MERGED < distance(base, raw_image(family))
    assert distance(both, raw_image(model, [(top, 1.0)])) < MERGED < distance(both, base)
    np.testing.assert_array_equal(draw_image(engine, family), base)


def test_several_fused_adapters_below_a_switched_one(tmp_path: Path) -> None:
    one, two, top = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2, 3))
    modes = (LoraMode.FUSE, LoraMode.FUSE, LoraMode.DYNAMIC)
    engine = engine_with("sd", *zip(("one", "two", "top"), (one, two, top), modes, (0.5, 0.4, 1.0), strict=True))

    drawn = draw_image(engine, "sd", Operation.EDIT, top=0.7)

    expected = raw_image("sd", [(one, 0.5), (two, 0.4), (top, 0.7)], operation=Operation.EDIT)
    np.testing.assert_array_equal(drawn, expected)


def test_fused_and_static_are_compiled_in_together(tmp_path: Path) -> None:
    fused, static = (write_native(tmp_path / f"{seed}.safetensors", "sd", seed) for seed in (1, 2))
    engine = engine_with("sd", ("fused", fused, LoraMode.FUSE, 0.8), ("static", static, LoraMode.STATIC, 0.5))

    np.testing.assert_array_equal(draw_image(engine, "sd", static=0.5), raw_image("sd", [(fused, 0.8), (static, 0.5)]))


def test_alpha_in_the_file_is_over_its_rank(tmp_path: Path) -> None:
    """GenAI by itself ignores it."""
    half = write_kohya(tmp_path / "half.safetensors", UNET, 1, alpha=RANK / 2)
    whole = write_kohya(tmp_path / "whole.safetensors", UNET, 1)
    engine = engine_with("sd", ("half", half, LoraMode.DYNAMIC, 1.0))

    np.testing.assert_array_equal(draw_image(engine, "sd", half=1.0), raw_image("sd", [(whole, 0.5)]))


@pytest.mark.parametrize("mode", [LoraMode.STATIC, LoraMode.FUSE])
@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_text_encoders_compiled_in(family: str, mode: LoraMode, tmp_path: Path) -> None:
    start = "lora_te2_" if family == "sdxl" else "lora_te_"
    layers = {"text_model.encoder.layers.0.self_attn.q_proj": (32, 32)}
    path = write_kohya(tmp_path / "te.safetensors", layers, 1, start=start)
    expected, base = raw_image(family, [(path, 1.0)]), raw_image(family)

    drawn = draw_image(engine_with(family, ("te", path, mode, 1.0)), family)

    assert distance(drawn, expected) < FUSED * distance(expected, base)


@pytest.mark.parametrize("options", [{"resolution": (Resolution(SIDE, SIDE),)}, {"device": ("CPU", "CPU", "CPU")}])
def test_text_encoders_of_sdxl_where_the_runtime_mixes_them_up(options: dict[str, Any], tmp_path: Path) -> None:
    layers = {"text_model.encoder.layers.0.self_attn.q_proj": (32, 32)}
    path = write_kohya(tmp_path / "te.safetensors", layers, 1, start="lora_te2_")
    graph = make_graph(MODELS / "sdxl", lora_adapters=(LoraAdapter(alias="te", path=path),), **options)

    with pytest.raises(EngineError, match=r"'te' .* text encoders needs one device"):
        load_engine(graph, device=graph.device)


@pytest.mark.parametrize("mode", list(LoraMode))
@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_transformers_take_adapters_in_every_operation(family: str, mode: LoraMode, tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.safetensors", family, 1)
    engine = engine_with(family, ("a", path, mode, 1.0))
    chosen = {} if mode is LoraMode.FUSE else {"a": 1.0}

    for operation in (Operation.INPAINTING, Operation.EDIT, Operation.GENERATION, Operation.EDIT):
        expected = raw_image(family, [(path, 1.0)], operation=operation)
        changed = distance(expected, raw_image(family, operation=operation))
        drawn = draw_image(engine, family, operation, **chosen)
        assert distance(drawn, expected) < FUSED * changed, operation
        assert changed > 0


@pytest.mark.parametrize("leaf", ["to_out.0", "to_add_out"])
def test_layers_that_the_runtime_alone_adds_no_branch_to(leaf: str, tmp_path: Path) -> None:
    """GenAI refuses to compile these layers of FLUX's joint blocks with an adapter, unless it is merged."""
    layers = {f"transformer_blocks.0.attn.{leaf}": (32, 32)}
    path = write_diffusers(tmp_path / "out.safetensors", layers, 1)
    merged = raw_image(merge_by_hand("flux", tmp_path, products(layers, 1, 1.0)))
    change = distance(merged, raw_image("flux"))

    engine = engine_with("flux", ("out", path, LoraMode.DYNAMIC, 1.0))

    assert distance(draw_image(engine, "flux", out=1.0), merged) < MERGED < 0.05 * change
    np.testing.assert_array_equal(draw_image(engine, "flux"), raw_image("flux"))
    static = engine_with("flux", ("out", path, LoraMode.STATIC, 1.0))
    assert distance(draw_image(static, "flux"), merged) < MERGED
    fused = engine_with("flux", ("out", path, LoraMode.FUSE, 1.0))
    assert distance(draw_image(fused, "flux"), merged) < FUSED * change


def test_a_layer_whose_name_is_the_end_of_others(tmp_path: Path) -> None:
    """By its own name, GenAI takes FLUX's last layer for that of a single block, and fails at a generation."""
    path = write_diffusers(tmp_path / "out.safetensors", {"proj_out": (16, 32)}, 1)
    merged = raw_image(merge_by_hand("flux", tmp_path, products({"proj_out": (16, 32)}, 1, 1.0)))
    base = raw_image("flux")

    engine = engine_with("flux", ("out", path, LoraMode.DYNAMIC, 1.0))

    assert distance(draw_image(engine, "flux", out=1.0), merged) < MERGED < 0.05 * distance(merged, base)
    np.testing.assert_array_equal(draw_image(engine, "flux"), base)
    for mode in (LoraMode.STATIC, LoraMode.FUSE):
        assert distance(draw_image(engine_with("flux", ("out", path, mode, 1.0)), "flux"), merged) < FUSED * distance(
            merged, base
        )


def test_an_unknown_alias_is_an_error_with_and_without_adapters(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.safetensors", "sd", 1)
    for engine in (engine_with("sd"), engine_with("sd", ("a", path, LoraMode.DYNAMIC, 1.0))):
        with pytest.raises(EngineError, match="'c' is not loaded"):
            draw_image(engine, "sd", c=1.0)
