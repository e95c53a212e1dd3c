"""Which LoRA files fit which model, the errors for those that do not, and the names that the others get."""

import json
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file

from graphs.adapters.fit import fit_adapter, read_coverage
from graphs.adapters.layers import read_layers
from graphs.adapters.updates import AdapterFit, Coverage
from graphs.definition.graph import LoraAdapter
from graphs.errors import AdapterMisfit, EngineError
from graphs.families.model_facts import read_model_facts
from tests.workers.engine.adapter_support import (
    LAYERS,
    RANK,
    UNET,
    numbers,
    rename,
    write_diffusers,
    write_kohya,
    write_native,
)
from tests.workers.engine.engine_support import MODELS, copy_model, make_graph
from workers.engine.adapters.adapter_files import Converted, convert
from workers.engine.adapters.adapter_set import AdapterSet

QUERY = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TENSORS = dict[str, Any]


def fit(path: Path, family: str = "sd") -> dict[str, Any]:
    """The tensors as GenAI gets them."""
    return load(converted(path, family).content.tobytes())


def fitted(path: Path, family: str = "sd") -> AdapterFit:
    return fit_adapter(path, MODELS / family, read_model_facts(MODELS / family).family)


def converted(path: Path, family: str = "sd") -> Converted:
    return convert(fitted(path, family))


def misfit(path: Path, family: str = "sd") -> str:
    with pytest.raises(AdapterMisfit) as caught:
        fit(path, family)
    return caught.value.message


def pair(down: tuple[int, ...], up: tuple[int, ...], module: str = QUERY, dtype: Any = np.float32) -> TENSORS:
    name = f"lora_unet_{module.replace('.', '_')}"
    return {f"{name}.lora_down.weight": np.ones(down, dtype), f"{name}.lora_up.weight": np.ones(up, dtype)}


def written(tmp_path: Path, tensors: TENSORS, metadata: dict[str, str] | None = None) -> Path:
    path = tmp_path / "fox.safetensors"
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize("family", sorted(LAYERS))
def test_an_adapter_of_each_family_fits_its_own_model(family: str, tmp_path: Path) -> None:
    path = write_native(tmp_path / "fox.safetensors", family, 1)

    tensors = fit(path, family)

    paths = {name.partition("/")[0].removeprefix("transformer.").removeprefix("model.") for name in tensors}
    assert paths == set(LAYERS[family])
    assert sorted(value.tobytes() for value in tensors.values()) == sorted(
        value.tobytes() for name, value in load_file(path).items() if not name.endswith(".alpha")
    )


def test_all_naming_forms_give_the_same_tensors(tmp_path: Path) -> None:
    expected = {
        f"{module}/.lora_{'A' if part == 'down' else 'B'}.weight": values.tobytes()
        for (module, _, part), values in ((name.rpartition("."), values) for name, values in numbers(UNET, 1).items())
    }
    plain = write_diffusers(tmp_path / "plain.safetensors", UNET, 1, start="")
    forms = [
        plain,
        write_diffusers(tmp_path / "unet.safetensors", UNET, 1, start="unet."),
        write_diffusers(tmp_path / "peft.safetensors", UNET, 1, start="base_model.model."),
        write_diffusers(tmp_path / "both.safetensors", UNET, 1, start="base_model.model.unet."),
        write_diffusers(tmp_path / "comfy.safetensors", UNET, 1, start="diffusion_model."),
        rename(plain, tmp_path / "named.safetensors", ".weight", ".default.weight"),
        rename(plain, tmp_path / "processor.safetensors", "attn1.", "attn1.processor."),
        write_kohya(tmp_path / "kohya.safetensors", UNET, 1),
        rename(plain, tmp_path / "kohya_out.safetensors", "to_out.0.", "to_out."),
    ]
    for path in forms:
        assert {name: values.tobytes() for name, values in fit(path).items()} == expected, path.name


@pytest.mark.parametrize(
    ("family", "original", "module"),
    [
        ("sd", "middle_block_1_transformer_blocks_0_attn1_to_q", QUERY),
        ("sd", "input_blocks_3_0_in_layers_2", None),
        ("sd", "input_blocks_3_1_proj_in", "down_blocks.1.attentions.0.proj_in"),
        ("sd", "input_blocks_3_0_skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
        ("sd", "input_blocks_1_0_emb_layers_1", "down_blocks.0.resnets.0.time_emb_proj"),
        ("sd", "output_blocks_1_1_proj_out", "up_blocks.0.attentions.1.proj_out"),
        ("sd", "time_embed_2", "time_embedding.linear_2"),
        ("sdxl", "label_emb_0_0", "model.add_embedding.linear_1"),
    ],
)
def test_names_of_the_original_stable_diffusion(family: str, original: str, module: str | None, tmp_path: Path) -> None:
    layers = read_layers(MODELS / family / "unet" / "openvino_model.xml")
    layer = layers[module] if module else layers["down_blocks.1.resnets.0.conv1"]
    kernel = (3, 3) if module is None else ()
    path = written(tmp_path, pair((RANK, layer.inputs, *kernel), (layer.outputs, RANK), original))

    if module is None:
        (update,) = fitted(path, family).updates
        assert (update.target.layer.path, update.rank) == ("down_blocks.1.resnets.0.conv1", None)
    else:
        assert set(fit(path, family)) == {f"{module}/.lora_A.weight", f"{module}/.lora_B.weight"}


def test_the_fused_layers_of_the_original_flux_are_split(tmp_path: Path) -> None:
    single = "single_transformer_blocks.0"
    layers = read_layers(MODELS / "flux" / "transformer" / "openvino_model.xml")
    parts = [layers[f"{single}.{leaf}"] for leaf in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    rows = sum(layer.outputs for layer in parts)
    up = np.random.default_rng(1).normal(size=(rows, RANK)).astype(np.float16)
    tensors = pair((RANK, 32), (rows, RANK), "single_blocks_0_linear1", np.float16)
    tensors["lora_unet_single_blocks_0_linear1.lora_up.weight"] = up
    tensors["lora_unet_single_blocks_0_linear1.alpha"] = np.array(2, dtype=np.float16)

    path = written(tmp_path, tensors)
    found = fit(path, "flux")

    names = [f"transformer.{layer.path}/" for layer in parts]
    np.testing.assert_array_equal(np.concatenate([found[f"{name}.lora_B.weight"] for name in names]), up)
    assert all(found[f"{name}.lora_A.weight"].shape == (RANK, 32) for name in names)
    assert converted(path, "flux").strength == 2 / RANK


def test_a_fused_layer_and_one_of_its_parts_clash(tmp_path: Path) -> None:
    fused = pair((RANK, 32), (96, RANK), "double_blocks_0_img_attn_qkv")
    part = pair((RANK, 32), (32, RANK), "transformer_blocks.0.attn.to_k")

    for number, tensors in enumerate(({**fused, **part}, {**part, **fused})):
        path = tmp_path / f"{number}.safetensors"
        save_file(tensors, path)
        assert "another tensor of the file is for the layer 'transformer_blocks.0.attn.to_" in misfit(path, "flux")


def test_alpha_that_diffusers_wrote_into_the_metadata(tmp_path: Path) -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": RANK, "unet.lora_alpha": 8})}

    assert converted(written(tmp_path, pair((RANK, 32), (32, RANK)), metadata)).strength == 8 / RANK
    assert converted(written(tmp_path, pair((RANK, 32), (32, RANK)), {"x": "y"})).strength == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_alphas_that_differ_from_layer_to_layer(dtype: Any, tmp_path: Path) -> None:
    other = QUERY.replace("to_q", "to_v")
    tensors = {**pair((RANK, 32), (32, RANK), dtype=dtype), **pair((RANK, 32), (32, RANK), other, dtype)}
    tensors[f"lora_unet_{QUERY.replace('.', '_')}.alpha"] = np.array(1, dtype)
    path = written(tmp_path, tensors)

    found = fit(path)

    by_strength = {name: values * converted(path).strength for name, values in found.items()}
    assert (by_strength[f"{QUERY}/.lora_B.weight"] == 1 / RANK).all()
    assert (by_strength[f"{other}/.lora_B.weight"] == 1).all()
    assert len({found[f"{QUERY}/.lora_{part}.weight"].dtype for part in "AB"}) == 1


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux"])
def test_an_adapter_of_another_architecture_is_refused_with_its_first_tensor(family: str, tmp_path: Path) -> None:
    sd = write_kohya(
        tmp_path / "sd.safetensors", {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (32, 32)}, 1
    )
    other = write_native(tmp_path / "other.safetensors", "flux" if family == "sd3" else "sd3", 1)

    why = misfit(sd, family)
    assert "'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k." in why
    assert "takes [rank, 64]" in why if family == "sdxl" else "has no layer" in why and "nearest" in why
    if family == "sdxl":
        assert "this Stable Diffusion XL model has no layer" in misfit(other, family)


@pytest.mark.parametrize(
    ("down", "up", "says"),
    [
        ((RANK, 48), (32, RANK), r"lora_down is [4, 48], its layer takes [rank, 32]"),
        ((RANK, 32), (48, RANK), r"lora_up is [48, 4], its layer takes [32, 4]"),
        ((RANK, 32), (32, 8), r"lora_up is [32, 8], and lora_down has the rank 4"),
        ((32, RANK), (RANK, 32), r"lora_down is [32, 4]"),
        ((0, 32), (32, 0), r"lora_down is [0, 32]"),
        ((32,), (32,), r"lora_down is [32]"),
        ((RANK, 32, 3, 3), (32, RANK, 1, 1), "lora_down is [4, 32, 3, 3], its layer takes [rank, 32]"),
        ((RANK, 32), (32, RANK, 3, 3), "lora_up has a kernel of its own"),
    ],
)
def test_shapes_that_do_not_fit(down: tuple[int, ...], up: tuple[int, ...], says: str, tmp_path: Path) -> None:
    why = misfit(written(tmp_path, pair(down, up)))

    assert says in why
    assert f"'lora_unet_{QUERY.replace('.', '_')}.lora_" in why


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"lora_unet_nowhere_to_q.lora_up.weight": (4, 4)},
            "only 1 of its 2 layers are in this Stable Diffusion model; the tensor "
            "'lora_unet_nowhere_to_q.lora_up.weight' does not fit: this Stable Diffusion model has no layer "
            "'nowhere_to_q' in its unet",
        ),
        ({f"unet.{QUERY}.hada_w1_a": (4, 4)}, "its layer has parts of another kind in the file as well"),
        ({f"{QUERY}.dora_scale": (4, 4)}, "its kind, DoRA, a LoRA with trained magnitudes, cannot be applied here"),
        ({"": (1,)}, "is of no kind"),
        ({f"unet.{QUERY}.lora_A.weight": (4, 32)}, "another tensor of the file is for the layer"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": (4, 4)}, "no lora_down (lora_A) in the file"),
        ({f"lora_unet_{QUERY.replace('.', '_')}.alpha": (2,)}, "alpha is [2], and must be one number"),
    ],
)
def test_a_tensor_that_does_not_belong_in_the_file(
    changes: dict[str, tuple[int, ...]], says: str, tmp_path: Path
) -> None:
    extra = {name: np.ones(shape, np.float32) for name, shape in changes.items()}
    path = written(tmp_path, {**pair((RANK, 32), (32, RANK)), **extra})

    assert says in misfit(path)
    assert repr(next(iter(changes))) in misfit(path)


def test_tensor_types(tmp_path: Path) -> None:
    assert "its type is I32, not one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2" in misfit(
        written(tmp_path, pair((RANK, 32), (32, RANK), dtype=np.int32))
    )
    fit(written(tmp_path, pair((RANK, 32, 1, 1), (32, RANK, 1, 1), dtype=np.float16)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_draw_black_images_are_refused(bad: float, tmp_path: Path) -> None:
    tensors = pair((RANK, 32), (32, RANK), dtype=np.float64)
    last = list(tensors)[-1]
    tensors[last][-1, -1] = bad

    why = misfit(written(tmp_path, tensors))

    assert repr(last) in why and "infinite or not a number (NaN)" in why


def test_what_the_model_lacks_is_left_out_and_counted(tmp_path: Path) -> None:
    layers = read_layers(MODELS / "sd" / "unet" / "openvino_model.xml")
    tensors: TENSORS = {}
    for layer in [layer for layer in layers.values() if layer.kernel == 1][:18]:
        tensors.update(pair((RANK, layer.inputs), (layer.outputs, RANK), layer.path))
    tensors.update(pair((RANK, 8), (8, RANK), "nowhere_to_q"))
    tensors["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = np.ones((4, 4), np.float32)
    tensors["lora_te_text_model_encoder_layers_99_mlp_fc1.lora_up.weight"] = np.ones((4, 4), np.float32)

    found = fitted(written(tmp_path, tensors))

    coverage = read_coverage(found.path, MODELS / "sd", found.family)
    assert coverage == found.coverage
    assert coverage.components["denoiser"] == Coverage(18, 19)
    assert str(coverage) == (
        "denoiser 18 of 19 layers, text_encoder 0 of 1 layers, text_encoder_2 0 of 1 layers, rank 4"
    )
    assert coverage.left_out is not None and "text_encoder_2" in coverage.left_out
    assert len(found.updates) == 18


def test_an_adapter_for_another_text_encoder_alone_is_refused(tmp_path: Path) -> None:
    name = "lora_te2_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{name}.lora_down.weight": np.ones((2, 32), np.float32)}

    assert "applies no adapter to the text_encoder_2 of Stable Diffusion models" in misfit(written(tmp_path, tensors))


def test_cross_attention_tells_the_model_that_an_adapter_was_trained_for(tmp_path: Path) -> None:
    tensors = pair((RANK, 768), (32, RANK), QUERY.replace("attn1.to_q", "attn2.to_k"))

    assert "the adapter was trained for Stable Diffusion 1" in misfit(written(tmp_path, tensors), "sdxl")


def header_of(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: Any) -> bytes:
    fields = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return header_of(json.dumps({"x.lora_up.weight": fields}).encode(), b"1234")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"garbage", "it is not a safetensors file"),
        (b"\x80\x04pickle" * 9, "it is not a safetensors file"),
        (b"# Just a text file, renamed.\n" * 50, "it is not a safetensors file"),
        (b"\xff" * 40, "it is not a safetensors file"),
        (struct.pack("<Q", 99_999_999) + b"{}", "or is cut off"),
        (header_of(b" " * (8 * 2**20 + 1)), "its header has 8388609 bytes, and an adapter's may have 8388608"),
        (header_of(b"{}"), "it holds no tensor"),
        (header_of(b"[1]"), "it is not a safetensors file"),
        (header_of(b"[" * 200_000), "it is not a safetensors file"),
        (header_of(b'{"x": 3}'), "it is not a safetensors file"),
        (entry(data_offsets=[0, 400]), "lies outside the file"),
        (entry(data_offsets=[4, 0]), "lies outside the file"),
        (entry(data_offsets=[-4, 0]), "no usable type, shape or place"),
        (entry(data_offsets=[0, 4, 8]), "no usable type, shape or place"),
        (entry(shape=[2]), "contradict each other"),
        (entry(shape=[1] * 9), "no usable type, shape or place"),
        (entry(shape=[True]), "no usable type, shape or place"),
        (entry(dtype=7), "no usable type, shape or place"),
    ],
)
def test_a_file_that_is_no_safetensors(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.safetensors"
    path.write_bytes(content)

    assert says in misfit(path)


def test_a_file_that_is_cut_off_or_missing(tmp_path: Path) -> None:
    path = write_native(tmp_path / "fox.safetensors", "sd", 1)
    path.write_bytes(path.read_bytes()[:-100])

    assert "it is cut off" in misfit(path)
    assert "No such file" in misfit(tmp_path / "other.safetensors")
    assert "it cannot be read" in misfit(tmp_path)


def test_a_model_that_cannot_be_read(tmp_path: Path) -> None:
    model = copy_model("sd", tmp_path)
    (model / "unet" / "openvino_model.xml").write_text("<net>")

    with pytest.raises(AdapterMisfit, match=r"unet/openvino_model\.xml cannot be read"):
        fit_adapter(write_native(tmp_path / "a.safetensors", "sd", 1), model, read_model_facts(model).family)


def test_an_adapter_of_a_text_encoder_needs_pipelines_compiled_at_construction_on_sdxl_only(tmp_path: Path) -> None:
    for family, prefix, refused in (("sdxl", "lora_te2", True), ("sd", "lora_te", False)):
        encoder = "text_encoder_2" if family == "sdxl" else "text_encoder"
        layers = read_layers(MODELS / family / encoder / "openvino_model.xml")
        layer = next(layer for path, layer in layers.items() if path.endswith("mlp.fc1"))
        name = f"{prefix}_{layer.path.replace('.', '_')}"
        tensors = {f"{name}.lora_down.weight": (RANK, layer.inputs), f"{name}.lora_up.weight": (layer.outputs, RANK)}
        path = written(tmp_path, {key: np.ones(shape, np.float32) for key, shape in tensors.items()})
        matched = fit_adapter(path, MODELS / family, read_model_facts(MODELS / family).family)

        matched.check_loadable(at_construction=True)
        with pytest.raises(AdapterMisfit, match="needs one device") if refused else nullcontext():
            matched.check_loadable(at_construction=False)


def test_a_bad_adapter_refuses_the_whole_set_and_is_named(tmp_path: Path) -> None:
    good = LoraAdapter(alias="good", path=write_native(tmp_path / "good.safetensors", "sd", 1))
    bad = LoraAdapter(alias="bad", path=write_native(tmp_path / "bad.safetensors", "flux", 1))
    facts = read_model_facts(MODELS / "sd")

    with pytest.raises(EngineError) as caught:
        AdapterSet(make_graph(MODELS / "sd", lora_adapters=(good, bad)), facts.family)

    assert caught.value.code == "adapter_does_not_fit"
    for says in ("'bad'", str(bad.path), "'transformer.transformer_blocks.0.attn.add_v_proj.lora_A.weight'"):
        assert says in caught.value.message
