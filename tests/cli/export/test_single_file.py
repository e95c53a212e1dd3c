"""Checkpoints with all parts are recognised by names and shapes; everything else is refused before any conversion."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.errors import UserError
from cli.export.single_file import CONFIGS, is_single_file, read_single_file
from cli.main import run
from graphs.families.model_facts import read_model_facts
from graphs.repository.scheduler_config import check_scheduler
from tests.cli.export.original_layout import FULL, REDUCED, layout

pytestmark = pytest.mark.fast
Shapes = dict[str, list[int]]
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
PARAMETERS = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}


def _write(
    path: Path,
    shapes: Mapping[str, list[int]],
    dtype: str = "F16",
    metadata: dict[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Path:
    """Write a file whose weights take no room on the disk; ``values`` are the numbers of some, in f32."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    places = {}
    end = 0
    for name, shape in shapes.items():
        kind = "I64" if name.endswith("position_ids") else "F32" if name in (values or {}) else dtype
        places[name] = end
        end += math.prod(shape) * BYTES[kind]
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [places[name], end]}
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)
        for name, numbers in (values or {}).items():
            file.seek(8 + len(header) + places[name])
            file.write(np.asarray(numbers, dtype="<f4").tobytes())
    return path


def _full(kind: str) -> Shapes:
    return layout(FULL[kind])


@pytest.mark.parametrize(
    ("kind", "class_name"),
    [
        ("sd15", "StableDiffusionPipeline"),
        ("sd2", "StableDiffusionPipeline"),
        ("sdxl", "StableDiffusionXLPipeline"),
    ],
)
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_each_kind_is_known_by_its_weights(tmp_path: Path, kind: str, class_name: str, dtype: str) -> None:
    source, sentence = read_single_file(_write(tmp_path / "model.safetensors", _full(kind), dtype), None)
    assert source.class_name == class_name and source.parameters == PARAMETERS[kind]
    assert source.single_file is not None and source.single_file["configs"].endswith(kind)
    assert sentence.startswith("model.safetensors is Stable Diffusion") and "predicts epsilon" in sentence


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("sd15", {"model_ema.diffusion_modelinput_blocks00weight": [320, 4, 3, 3], "model_ema.decay": []}),
        ("sd15", {"cond_stage_model.transformer.text_model.embeddings.position_ids": [1, 77]}),
        ("sd15", {"betas": [1000], "alphas_cumprod": [1000], "posterior_mean_coef1": [1000], "lvlb_weights": [1000]}),
        ("sd15", {"sqrt_recipm1_alphas_cumprod": [1000], "log_one_minus_alphas_cumprod": [1000], "global_step": []}),
        ("sd15", {"cond_stage_model.logit_scale": [], "cond_stage_model.text_projection": [768, 768]}),
        ("sd2", {"cond_stage_model.model.attn_mask": [77, 77]}),
        ("sdxl", {"conditioner.embedders.0.transformer.text_model.embeddings.position_ids": [1, 77]}),
        ("sdxl", {"conditioner.embedders.0.logit_scale": [], "denoiser.sigmas": [1000]}),
        ("sdxl", {"first_stage_model.loss.logvar": []}),
    ],
)
def test_keys_that_nothing_needs_are_left_out(tmp_path: Path, kind: str, extra: Shapes) -> None:
    source, _ = read_single_file(_write(tmp_path / "m.safetensors", _full(kind) | extra), None)
    assert source.parameters == PARAMETERS[kind]


def test_text_encoders_without_their_prefix_are_the_same(tmp_path: Path) -> None:
    shapes = {name.replace("transformer.text_model.", "transformer."): one for name, one in _full("sd15").items()}
    assert read_single_file(_write(tmp_path / "m.safetensors", shapes), None)[0].parameters == PARAMETERS["sd15"]


@pytest.mark.parametrize(
    ("kind", "class_name"),
    [("sd15", "StableDiffusionInpaintPipeline"), ("sdxl", "StableDiffusionXLInpaintPipeline")],
)
def test_nine_channels_are_a_model_for_inpainting(tmp_path: Path, kind: str, class_name: str) -> None:
    shapes = layout(replace(FULL[kind], in_channels=9))
    source, sentence = read_single_file(_write(tmp_path / "m.safetensors", shapes), None)
    assert source.class_name == class_name and "for inpainting" in sentence
    assert source.parameters["unet"] == PARAMETERS[kind]["unet"] + 14_400
    assert source.single_file is not None
    assert source.single_file["changes"]["unet/config.json"] == {"in_channels": 9}
    assert source.single_file["changes"]["model_index.json"] == {"_class_name": class_name}


@pytest.mark.parametrize(
    ("kind", "file", "word", "predicted", "reason"),
    [
        ("sd15", {}, None, "epsilon", "the file says nothing else"),
        ("sd15", {}, "v_prediction", "v_prediction", "--prediction_type"),
        ("sd15", {"extra": {"v_pred": []}}, None, "v_prediction", "the file has the key v_pred"),
        ("sdxl", {"extra": {"v_pred": [], "ztsnr": []}}, None, "v_prediction", "the file has the key v_pred"),
        ("sdxl", {"extra": {"v_pred": [], "ztsnr": []}}, "epsilon", "epsilon", "--prediction_type"),
        ("sd2", {"metadata": {"modelspec.prediction_type": "v"}}, None, "v_prediction", "the file's modelspec"),
        ("sd2", {"spread": 0.1}, None, "v_prediction", "the last attention's bias spreads by 0.1"),
        ("sd2", {"spread": 0.08}, None, "epsilon", "the last attention's bias spreads by 0.08"),
        ("sd2", {"spread": 0.1}, "epsilon", "epsilon", "--prediction_type"),
        ("sd15", {"spread": 0.1}, None, "epsilon", "the file says nothing else"),
    ],
)
def test_what_the_denoiser_predicts_is_said_with_its_reason(
    tmp_path: Path, kind: str, file: dict[str, Any], word: str | None, predicted: str, reason: str
) -> None:
    values = {BIAS: file["spread"] * np.tile([1.0, -1.0], 160)} if "spread" in file else {}
    shapes = _full(kind) | file.get("extra", {})
    path = _write(tmp_path / "m.safetensors", shapes, metadata=file.get("metadata"), values=values)
    source, sentence = read_single_file(path, word)
    assert f"predicts {predicted}: {reason}" in sentence
    assert source.single_file is not None
    scheduler = source.single_file["changes"]["scheduler/scheduler_config.json"]
    assert scheduler["prediction_type"] == predicted
    has_zero_snr = "ztsnr" in shapes and predicted == "v_prediction"
    assert scheduler.get("rescale_betas_zero_snr", False) is has_zero_snr
    assert (scheduler.get("timestep_spacing") == "linspace") is has_zero_snr


def test_an_unknown_prediction_in_the_file_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.safetensors", _full("sd2"), metadata={"modelspec.prediction_type": "edm"})
    with pytest.raises(UserError, match=r"is 'edm'; say --prediction_type epsilon or v_prediction"):
        read_single_file(path, None)


@pytest.mark.parametrize(
    ("kind", "word", "side", "scheduler"),
    [
        ("sd15", "epsilon", 512, "PNDMScheduler"),
        ("sd15", "v_prediction", 512, "DDIMScheduler"),
        ("sd2", "epsilon", 512, "PNDMScheduler"),
        ("sd2", "v_prediction", 768, "DDIMScheduler"),
        ("sdxl", "epsilon", 1024, "EulerDiscreteScheduler"),
        ("sdxl", "v_prediction", 1024, "EulerDiscreteScheduler"),
    ],
)
def test_the_configurations_of_each_kind_can_be_served(
    tmp_path: Path, kind: str, word: str, side: int, scheduler: str
) -> None:
    shapes = _full(kind) | {"ztsnr": []}
    source, _ = read_single_file(_write(tmp_path / "m.safetensors", shapes), word)
    assert source.single_file is not None
    for path in (CONFIGS / kind).rglob("*.json"):
        target = tmp_path / "model" / path.relative_to(CONFIGS / kind)
        target.parent.mkdir(parents=True, exist_ok=True)
        changed = source.single_file["changes"].get(str(path.relative_to(CONFIGS / kind)), {})
        target.write_text(json.dumps(json.loads(path.read_text()) | changed))
    facts = read_model_facts(tmp_path / "model")
    check_scheduler(tmp_path / "model", facts)
    assert (facts.native_resolution.width, facts.scheduler) == (side, scheduler)


def _sd15(**changed: list[int] | None) -> Shapes:
    shapes = {**_full("sd15"), **changed}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _without(shapes: Shapes, prefix: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(prefix)}


def _only(shapes: Shapes, prefix: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"lora_unet_mid_block.lora_down.weight": [4, 8]}, "a LoRA adapter, not a model: serve it with --source_loras"),
        ({"unet.mid.attn1.to_q.lora_A.weight": [4, 8]}, "a LoRA adapter"),
        ({"control_model.time_embed.0.weight": [4, 4]}, "a ControlNet"),
        (_full("sd15") | {"control_model.time_embed.0.weight": [4, 4]}, "a ControlNet"),
        ({"model.diffusion_model.joint_blocks.0.x.weight": [4, 4]}, "of SD3 or FLUX"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": [4]}, "of SD3 or FLUX"),
        ({FIRST_LAYER: [384, 4, 3, 3], "conditioner.embedders.0.model.ln_final.weight": [9]}, "the SDXL refiner"),
        (_full("sd2") | {"embedder.model.visual.proj": [4, 4]}, "an unCLIP model"),
        (_full("sdxl") | {"edm_mean": [4], "edm_std": [4]}, "a model of the EDM formulation"),
        (_sd15(**{FIRST_LAYER: [320, 8, 3, 3]}), "an image editing model (instruct-pix2pix): its UNet takes 8"),
        (_sd15(**{FIRST_LAYER: [320, 5, 3, 3]}), "a depth model"),
        (_sd15(**{FIRST_LAYER: [320, 7, 3, 3]}), "an upscaler"),
        (_only(_full("sd15"), "model."), "a UNet without its text encoder. Take the full checkpoint"),
        (_without(_full("sd15"), "first_stage_model."), "a checkpoint without its VAE. Take the full checkpoint"),
        (_only(_full("sd15"), "first_stage_model."), "a VAE alone"),
        ({"encoder.conv_in.weight": [4], "decoder.conv_in.weight": [4], "quant_conv.bias": [4]}, "a VAE alone"),
        ({"emb_params": [4, 768]}, "a textual inversion embedding"),
        ({"down_blocks.0.resnets.0.conv1.weight": [4, 4, 3, 3]}, "one part of a model in diffusers form"),
        ({"input_blocks.0.0.weight": [320, 4, 3, 3]}, "a UNet alone"),
        (_only(_full("sd15"), "cond_stage_model."), "a text encoder alone"),
        ({"something": [4]}, "no checkpoint that is known here. Give the model's folder in diffusers form"),
    ],
)
def test_other_files_are_refused_with_what_they_are(tmp_path: Path, shapes: Shapes, sentence: str) -> None:
    path = _write(tmp_path / "other.safetensors", shapes)
    with pytest.raises(UserError) as refused:
        read_single_file(path, None)
    assert f"{path} is {sentence}" in str(refused.value)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (layout(REDUCED["sd15"]), "tells neither heads nor activation: give a folder in diffusers form"),
        (layout(replace(FULL["sdxl"], depths=(0, 2, 4))), "a unet of "),
        (_sd15(**{"cond_stage_model.transformer.text_model.final_layer_norm.bias": None}), "a text_encoder of 123,059"),
        (_sd15(stranger=[4]), "no part of the model has stranger"),
        (_sd15(**{"cond_stage_model.other.weight": [4]}), "no part of the model has cond_stage_model.other.weight"),
    ],
)
def test_other_widths_and_strange_weights_are_refused(tmp_path: Path, shapes: Shapes, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        read_single_file(_write(tmp_path / "m.safetensors", shapes), None)
    assert sentence in str(refused.value)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is stored as U8; take a file in f32, f16 or bf16"):
        read_single_file(_write(tmp_path / "m.safetensors", _full("sd15"), "U8"), None)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.PTH", "pytorch_model.bin"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04")
    assert is_single_file(path)
    with pytest.raises(UserError, match="is a pickle, which may run code when it is read"):
        read_single_file(path, None)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.safetensors", _full("sd15"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(UserError, match="is no model: it is cut off"):
        read_single_file(path, None)
    assert is_single_file(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="there is no file"):
        read_single_file(tmp_path / "missing.safetensors", None)


def test_the_command_names_the_result_after_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path / "dreamshaper_8.safetensors", _full("sd15"))
    (tmp_path / "dreamshaper_8-int8-ov").mkdir()
    (tmp_path / "dreamshaper_8-int8-ov" / "model_index.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        run(["export", str(file)])
    assert "dreamshaper_8-int8-ov is there already" in capsys.readouterr().err


def test_the_command_says_what_the_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path / "dreamshaper_8.safetensors", _full("sd15"))
    with pytest.raises(SystemExit, match="2"):
        run(["export", str(file), "--memory_limit_gib", "0.1"])
    printed = capsys.readouterr().err
    assert "dreamshaper_8.safetensors is Stable Diffusion 1 and predicts epsilon" in printed
    assert "the conversion takes about" in printed


def test_a_folder_says_itself_what_it_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(["export", str(tmp_path), "--prediction_type", "epsilon"])
    assert "--prediction_type is for a single file" in capsys.readouterr().err
