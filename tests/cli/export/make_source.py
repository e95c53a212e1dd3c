"""Makes a diffusers folder with random weights (``-m tests.cli.export.make_source FAMILY TOKENIZERS OUTPUT``).

The keys of its CLIP text encoders have no ``text_model.`` prefix, as newer releases of transformers save them.
With ``--picture FILE --size WIDTHxHEIGHT --guidance G`` it draws one as well, before anything is saved, and writes the
noise and the picture. All are tiny but ``sd15``, which has the size of Stable Diffusion 1.5.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from tests.cli.export.source_tokenizers import clip_tokenizer, qwen_tokenizer, t5_tokenizer

PROMPT = "a red circle on a blue background"
STEPS = 4
_WIDTH = 32
_NO_CHECKER: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("tokenizers", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--guidance", type=float, default=5.0)
    given = parser.parse_args()
    torch.manual_seed(0)
    pipeline = FAMILIES[given.family](given.tokenizers)
    if given.picture:
        width, _, height = given.size.partition("x")
        _draw(pipeline, given.picture, int(width), int(height), given.guidance)
    pipeline.save_pretrained(given.output)
    for name in ("text_encoder", "text_encoder_2"):
        _without_prefix(given.output / name / "model.safetensors")


def _draw(pipeline: Any, file: Path, width: int, height: int, guidance: float) -> None:
    """Draw with diffusers, and write ``noise`` [1, c, h / 8, w / 8] and ``picture`` [h, w, 3] from 0 to 255."""
    noise = torch.randn(1, 4, height // 8, width // 8)
    # OpenVINO GenAI gives SDXL its sizes with the width first, diffusers with the height first.
    sizes = {"original_size": (width, height), "target_size": (width, height)}
    drawn = pipeline(
        PROMPT, latents=noise, width=width, height=height, num_inference_steps=STEPS, guidance_scale=guidance,
        output_type="np", **(sizes if isinstance(pipeline, StableDiffusionXLPipeline) else {}),
    )  # fmt: skip
    np.savez(file, noise=noise.numpy(), picture=drawn.images[0] * 255)


def _without_prefix(weights: Path) -> None:
    if weights.exists():
        renamed = {key.removeprefix("text_model."): tensor for key, tensor in load_file(weights).items()}
        save_file(renamed, weights, metadata={"format": "pt"})


def _clip(tokenizers: Path) -> CLIPTextConfig:
    words = len(clip_tokenizer(tokenizers))
    return CLIPTextConfig(
        vocab_size=words, hidden_size=_WIDTH, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=_WIDTH, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
    )  # fmt: skip


def _t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=256, d_model=_WIDTH, d_ff=48, d_kv=8, num_layers=2, num_heads=4))


def _unet(**options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, sample_size=16, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **{"cross_attention_dim": _WIDTH, **options},
    )  # fmt: skip


def _vae(**options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 16, 16, 16], down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, norm_num_groups=8, sample_size=128, **options,
    )  # fmt: skip


def _sd(tokenizers: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(**_sd_parts(tokenizers, _unet()))


def _sd_inpaint(tokenizers: Path) -> StableDiffusionInpaintPipeline:
    return StableDiffusionInpaintPipeline(**_sd_parts(tokenizers, _unet(in_channels=9)))


def _sd_parts(tokenizers: Path, unet: UNet2DConditionModel) -> dict[str, Any]:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    text_encoder = CLIPTextModel(_clip(tokenizers))
    parts = {"vae": _vae(), "text_encoder": text_encoder, "tokenizer": clip_tokenizer(tokenizers), "unet": unet}
    return {**parts, "scheduler": scheduler, **_NO_CHECKER}


def _sd15(tokenizers: Path) -> StableDiffusionPipeline:
    """Return one of Stable Diffusion 1.5's size. Its tokenizer is the small one."""
    text = _clip(tokenizers)
    text.update(
        {
            "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "projection_dim": 768,
        }
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, sample_size=512,
    )  # fmt: skip
    made = _sd(tokenizers)
    made.register_modules(text_encoder=CLIPTextModel(text), unet=unet, vae=vae)
    return made


def _lcm(tokenizers: Path) -> LatentConsistencyModelPipeline:
    return LatentConsistencyModelPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_clip(tokenizers)), tokenizer=clip_tokenizer(tokenizers),
        unet=_unet(time_cond_proj_dim=32), scheduler=LCMScheduler(beta_schedule="scaled_linear"), **_NO_CHECKER,
    )  # fmt: skip


def _sdxl(tokenizers: Path) -> StableDiffusionXLPipeline:
    unet = _unet(
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=_WIDTH + 6 * 8, cross_attention_dim=2 * _WIDTH,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(), unet=unet, text_encoder=CLIPTextModel(_clip(tokenizers)), tokenizer=clip_tokenizer(tokenizers),
        text_encoder_2=CLIPTextModelWithProjection(_clip(tokenizers)), tokenizer_2=clip_tokenizer(tokenizers),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
            timestep_spacing="leading",
        ),
    )  # fmt: skip


def _sd3(tokenizers: Path) -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=_WIDTH, joint_attention_dim=_WIDTH, pooled_projection_dim=2 * _WIDTH, out_channels=4,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, vae=_vae(shift_factor=0.06, scaling_factor=1.5),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=CLIPTextModelWithProjection(_clip(tokenizers)), tokenizer=clip_tokenizer(tokenizers),
        text_encoder_2=CLIPTextModelWithProjection(_clip(tokenizers)), tokenizer_2=clip_tokenizer(tokenizers),
        text_encoder_3=_t5(), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def _flux(tokenizers: Path) -> FluxPipeline:
    return FluxPipeline(**_flux_parts(tokenizers, in_channels=16))


def _flux_fill(tokenizers: Path) -> FluxFillPipeline:
    """The transformer also takes the packed latents of the image (16) and its mask (8 x 8 pixels, 4 packed)."""
    return FluxFillPipeline(**_flux_parts(tokenizers, in_channels=16 + 16 + 256, out_channels=16))


def _flux_parts(tokenizers: Path, **channels: int) -> dict[str, Any]:
    transformer = FluxTransformer2DModel(
        patch_size=1, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=_WIDTH, pooled_projection_dim=_WIDTH, axes_dims_rope=[4, 4, 8], **channels,
    )  # fmt: skip
    return {
        "transformer": transformer, "scheduler": FlowMatchEulerDiscreteScheduler(),
        "vae": _vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        "text_encoder": CLIPTextModel(_clip(tokenizers)), "tokenizer": clip_tokenizer(tokenizers),
        "text_encoder_2": _t5(), "tokenizer_2": t5_tokenizer(),
    }  # fmt: skip


def _qwen3(words: int, layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=words, hidden_size=16, intermediate_size=_WIDTH, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip


def _flux2_klein(_tokenizers: Path) -> Flux2KleinPipeline:
    tokenizer = qwen_tokenizer()
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 16, 16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=128
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), vae=vae, tokenizer=tokenizer,
        text_encoder=Qwen3ForCausalLM(_qwen3(len(tokenizer), 4)), transformer=transformer, is_distilled=True,
    )  # fmt: skip


def _z_image(_tokenizers: Path) -> ZImagePipeline:
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[1536, 512, 512],
    )  # fmt: skip
    for parameter in transformer.parameters():  # the class leaves its pad tokens as the memory was
        if parameter.ndim == 2 and parameter.shape[0] == 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0), tokenizer=tokenizer, transformer=transformer,
        vae=_vae(use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=Qwen3Model(_qwen3(len(tokenizer), 2)),
    )  # fmt: skip


def _qwen_image(_tokenizers: Path) -> QwenImagePipeline:
    tokenizer = qwen_tokenizer()
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[-0.75, -0.7, -0.9, 0.1], latents_std=[2.8, 1.5, 2.3, 2.7],
    )  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "tie_word_embeddings": True, "rope_parameters": rope,
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16, "patch_size": 14
    }  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae, tokenizer=tokenizer,
        text_encoder=encoder, transformer=transformer,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "sd": _sd,
    "sd15": _sd15,
    "sd_inpaint": _sd_inpaint,
    "lcm": _lcm,
    "sdxl": _sdxl,
    "sd3": _sd3,
    "flux": _flux,
    "flux_fill": _flux_fill,
    "flux2_klein": _flux2_klein,
    "z_image": _z_image,
    "qwen_image": _qwen_image,
}


if __name__ == "__main__":
    main()
