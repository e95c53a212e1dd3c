"""Writes the trained parts as OpenVINO IR (fp16 weights), with the names optimum-intel gives inputs and outputs.

Every part is run afterwards and compared with torch: an export once had random weights, silently.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from diffusers import UNet2DConditionModel
from openvino_tokenizers import convert_tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from tools.demo_model.networks import text_encoder, tokenizer, unet, vae
from tools.demo_model.networks.diffusion import CONFIG
from tools.demo_model.recipe import Folders, Recipe
from tools.demo_model.skip_sizes import take_skip_sizes
from tools.demo_model.training.loop import console

_TOLERANCE = 0.03  # largest difference, relative to the largest value: weights are rounded to fp16
_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.39.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


class _Text(nn.Module):
    """The text encoder with its two outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(input_ids)
        return found.last_hidden_state, found.pooler_output


class _Unet(UNet2DConditionModel):
    """The UNet itself, so that its layers keep the names adapters ask for, returning a plain tensor."""

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return super().forward(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class _Encoder(nn.Module):
    """Pixels to mean and log-variance of the latents."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.quant_conv = model.quant_conv

    def forward(self, sample: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(sample))


class _Decoder(nn.Module):
    """Latents to pixels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.post_quant_conv = model.post_quant_conv

    def forward(self, latent_sample: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latent_sample))


def run(recipe: Recipe, folders: Folders) -> None:
    """Write the whole model to ``folders.model``."""
    del recipe
    torch.manual_seed(0)
    _export_text(folders)
    _export_unet(folders)
    _export_vae(folders)
    _export_tokenizer(folders)
    _write_json(folders.model / "scheduler" / "scheduler_config.json", CONFIG)
    _write_json(folders.model / "model_index.json", _INDEX)
    total = sum(path.stat().st_size for path in folders.model.rglob("*") if path.is_file())
    console.print(f"export: {total / 1e6:.1f} MB")


def _export_text(folders: Folders) -> None:
    model = text_encoder.trained(folders)
    ids = tokenizer.encode(tokenizer.load(folders), ["a red circle on a blue background", "two stars"])
    place = folders.model / "text_encoder"
    _convert(_Text(model), {"input_ids": ids}, {"input_ids": [-1, -1]}, ("last_hidden_state", "pooler_output"), place)
    config = model.config.to_dict() | {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    _write_json(place / "config.json", config)


def _export_unet(folders: Folders) -> None:
    trained = unet.trained(folders)
    model = _Unet.from_config(trained.config)
    model.load_state_dict(trained.state_dict())
    inputs = {
        "sample": torch.randn(2, 4, 16, 16),
        "timestep": torch.tensor([500, 500]),
        "encoder_hidden_states": torch.randn(2, tokenizer.LENGTH, text_encoder.WIDTH),
    }
    shapes = {
        "sample": [-1, 4, -1, -1],
        "timestep": [-1],
        "encoder_hidden_states": [-1, tokenizer.LENGTH, text_encoder.WIDTH],
    }
    _convert(model.eval(), inputs, shapes, ("out_sample",), folders.model / "unet")
    _write_json(folders.model / "unet" / "config.json", _config_of(trained))


def _export_vae(folders: Folders) -> None:
    model = vae.finished(folders)
    pixels = torch.rand(2, 3, 128, 128) * 2 - 1
    latents = torch.randn(2, 4, 16, 16)
    encoder = folders.model / "vae_encoder"
    decoder = folders.model / "vae_decoder"
    _convert(_Encoder(model), {"sample": pixels}, {"sample": [-1, 3, -1, -1]}, ("latent_parameters",), encoder)
    _convert(_Decoder(model), {"latent_sample": latents}, {"latent_sample": [-1, 4, -1, -1]}, ("sample",), decoder)
    for place in (encoder, decoder):
        _write_json(place / "config.json", _config_of(model))


def _config_of(model: Any) -> dict[str, Any]:
    config = {name: value for name, value in model.config.items() if name != "_name_or_path"}
    return {"_class_name": type(model).__name__, "_diffusers_version": "0.39.0"} | config


def _export_tokenizer(folders: Folders) -> None:
    place = folders.model / "tokenizer"
    fast = PreTrainedTokenizerFast.from_pretrained(folders.work / "tokenizer")
    models = convert_tokenizer(fast, with_detokenizer=True)
    place.mkdir(exist_ok=True)
    for model, name in zip(models, ("openvino_tokenizer", "openvino_detokenizer"), strict=True):
        openvino.save_model(model, place / f"{name}.xml")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folders.work / "tokenizer" / name, place / name)
    compiled = openvino.compile_model(place / "openvino_tokenizer.xml", "CPU")
    texts = ["A red circle on a blue background, nothing  else", "", "an unheard-of word: zebra"]
    found = compiled(texts)["input_ids"]
    wanted = tokenizer.encode(tokenizer.load(folders), texts).numpy()
    if found.shape[1] < wanted.shape[1]:
        found = np.pad(found, ((0, 0), (0, wanted.shape[1] - found.shape[1])), constant_values=wanted[1, -1])
    if not np.array_equal(found, wanted):
        raise ValueError("The exported tokenizer gives other tokens.")


def _convert(
    model: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, list[int]], outputs: tuple[str, ...], place: Path
) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        wanted = model(**inputs)
        converted = openvino.convert_model(model, example_input=inputs)
    for port, (name, shape) in zip(converted.inputs, shapes.items(), strict=True):
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    for port, name in zip(converted.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    converted.validate_nodes_and_infer_types()
    if place.name == "unet":
        take_skip_sizes(converted)
    openvino.save_model(converted, place / "openvino_model.xml", compress_to_fp16=True)
    compiled = openvino.compile_model(place / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({name: value.numpy() for name, value in inputs.items()})
    for name, value in zip(outputs, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        _compare(place.name, found[name], value.numpy())


def _compare(part: str, found: np.ndarray, wanted: np.ndarray) -> None:
    worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    console.print(f"export: {part} differs from torch by {worst:.5f} at most")
    if not worst < _TOLERANCE:
        raise ValueError(f"The exported {part} is not what was trained.")


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
