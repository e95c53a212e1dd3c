"""Makes a tiny diffusers folder with random weights: ``PYTHON make_source.py TOKENIZER_FOLDER OUTPUT`` (with PyTorch).

The keys of its text encoder have no ``text_model.`` prefix, as newer releases of transformers save them.
"""

import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

END = "<|endoftext|>"


def main() -> None:
    torch.manual_seed(0)
    tokenizer_file = str(Path(sys.argv[1]) / "tokenizer.json")
    output = Path(sys.argv[2])
    tokens = json.loads(Path(tokenizer_file).read_text())
    words = max(*tokens["model"]["vocab"].values(), *(token["id"] for token in tokens["added_tokens"])) + 1
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=[8, 16, 16, 16],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=8,
        sample_size=128,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizerFast(tokenizer_file=tokenizer_file, model_max_length=77, unk_token=END, pad_token=END),
        unet=unet,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(output)
    weights = output / "text_encoder" / "model.safetensors"
    renamed = {key.removeprefix("text_model."): tensor for key, tensor in load_file(weights).items()}
    save_file(renamed, weights, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
