"""``make big-model``: write a pipeline of Stable Diffusion 1.5's size, with random weights, as OpenVINO IR in fp16.

Its images are noise. Its time, its memory and its size on disk are those of a real model.
"""

import argparse
import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

BUNDLED_MODEL = Path(__file__).parents[2] / "graphs" / "demo"
TOKENS = 77
TEXT_WIDTH = 768
# Stable Diffusion 1.5's published numbers of parameters: each part is checked against them.
PARAMETERS = {"text_encoder": 123_060_480, "unet": 859_520_964, "vae": 83_653_863}
GRAPH = """input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node: {
  name: "ImageGenExecutor"
  calculator: "ImageGenCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "IMAGE_GEN_NODE_RESOURCES:pipes"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com / mediapipe.ImageGenCalculatorOptions]: {
      models_path: "./"
      device: "CPU"
      default_resolution: "512x512"
      default_num_inference_steps: 20
    }
  }
}
"""


class TextEncoder(nn.Module):
    """CLIP ViT-L's text encoder, with its two outputs as a tuple."""

    def __init__(self, model: CLIPTextModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Take token ids [n, 77]; return the last hidden state [n, 77, 768] and the pooled output [n, 768]."""
        output = self.model(input_ids)
        return output.last_hidden_state, output.pooler_output


class Unet(UNet2DConditionModel):
    """The UNet itself and not a wrapper around it, so that its layers keep the names that LoRA adapters address."""

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Return the predicted noise, of the sample's shape [n, 4, height / 8, width / 8]."""
        return super().forward(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class VaeEncoder(nn.Module):
    """Pixels [n, 3, h, w] to the mean and log-variance of their latents [n, 8, h / 8, w / 8]."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.quant_conv = model.quant_conv

    def forward(self, sample: Tensor) -> Tensor:
        """Encode."""
        return self.quant_conv(self.encoder(sample))


class VaeDecoder(nn.Module):
    """Latents [n, 4, h / 8, w / 8] to pixels [n, 3, h, w]."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv = model.post_quant_conv
        self.decoder = model.decoder

    def forward(self, latent_sample: Tensor) -> Tensor:
        """Decode."""
        return self.decoder(self.post_quant_conv(latent_sample))


def main() -> None:
    """Write the model, unless a complete one is already there."""
    parser = argparse.ArgumentParser(prog="python -m tools.big_model", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    folder: Path = parser.parse_args().out
    if (folder / "model_index.json").exists():
        print(f"{folder} is complete already.")
        return
    torch.manual_seed(0)
    for write_part in (_write_text_encoder, _write_unet, _write_vae):
        write_part(folder)
        gc.collect()
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(BUNDLED_MODEL / name, folder / name, dirs_exist_ok=True)
    (folder / "graph.pbtxt").write_text(GRAPH)
    # The index is written last: a folder that has it is complete.
    shutil.copyfile(BUNDLED_MODEL / "model_index.json", folder / "model_index.json")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**30:.2f} GiB")


def _write_text_encoder(folder: Path) -> None:
    # The bundled model's tokenizer has 710 tokens. The embedding table is as large as CLIP's all the same.
    bundled = json.loads((BUNDLED_MODEL / "text_encoder" / "config.json").read_text())
    tokens = {name: bundled[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=TEXT_WIDTH, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=TOKENS, projection_dim=TEXT_WIDTH, **tokens,
    )  # fmt: skip
    model = CLIPTextModel(config).eval()
    _check_size("text_encoder", model)
    example = {"input_ids": torch.ones(2, TOKENS, dtype=torch.int64)}
    outputs = ("last_hidden_state", "pooler_output")
    _convert(TextEncoder(model), example, {"input_ids": [-1, -1]}, outputs, folder / "text_encoder")
    _write_config(folder / "text_encoder", config.to_dict() | {"architectures": ["CLIPTextModel"]})


def _write_unet(folder: Path) -> None:
    model = Unet(
        sample_size=64, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH, attention_head_dim=8,
    ).eval()  # fmt: skip
    _check_size("unet", model)
    example = {
        "sample": torch.randn(2, 4, 16, 16),
        "timestep": torch.tensor([500, 500]),
        "encoder_hidden_states": torch.randn(2, TOKENS, TEXT_WIDTH),
    }
    shapes = {
        "sample": [-1, 4, -1, -1],
        "timestep": [-1],
        "encoder_hidden_states": [-1, TOKENS, TEXT_WIDTH],
    }
    _convert(model, example, shapes, ("out_sample",), folder / "unet")
    _write_config(folder / "unet", {"_class_name": "UNet2DConditionModel", **model.config})


def _write_vae(folder: Path) -> None:
    model = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip
    _check_size("vae", model)
    parts: tuple[tuple[str, Callable[[AutoencoderKL], nn.Module], str, Tensor, str], ...] = (
        ("vae_encoder", VaeEncoder, "sample", torch.rand(1, 3, 64, 64), "latent_parameters"),
        ("vae_decoder", VaeDecoder, "latent_sample", torch.randn(1, 4, 8, 8), "sample"),
    )
    for name, part, source, example, output in parts:
        _convert(part(model), {source: example}, {source: [-1, example.shape[1], -1, -1]}, (output,), folder / name)
        _write_config(folder / name, {"_class_name": "AutoencoderKL", **model.config})


def _check_size(name: str, model: nn.Module) -> None:
    """Raise ValueError unless a part has exactly as many parameters as Stable Diffusion 1.5's."""
    found = sum(parameter.numel() for parameter in model.parameters())
    if found != PARAMETERS[name]:
        raise ValueError(f"{name} has {found:,} parameters and not {PARAMETERS[name]:,}.")
    print(f"{name}: {found:,} parameters", flush=True)


def _convert(
    model: nn.Module, example: dict[str, Tensor], shapes: dict[str, list[int]], outputs: tuple[str, ...], folder: Path
) -> None:
    """Trace a part with an example and write it as IR with fp16 weights; -1 in a shape is any size."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        converted = openvino.convert_model(model, example_input=example)
    for port, (name, shape) in zip(converted.inputs, shapes.items(), strict=True):
        port.get_node().set_partial_shape(openvino.PartialShape(shape))
        port.get_node().set_friendly_name(name)
        port.get_tensor().set_names({name})
    for port, name in zip(converted.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    converted.validate_nodes_and_infer_types()
    openvino.save_model(converted, folder / "openvino_model.xml", compress_to_fp16=True)


def _write_config(folder: Path, content: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(content, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
