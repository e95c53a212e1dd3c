"""Stable Diffusion XL."""

from graphs.families.family import AdapterComponent, Family, Operation
from graphs.families.stable_diffusion_names import unet_names
from graphs.families.strength import leaves_a_whole_step

SDXL = Family(
    name="Stable Diffusion XL",
    class_names=("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline"),
    prompts=2,
    negative_prompts=2,
    guidance_scale={Operation.GENERATION: 5.0, Operation.EDIT: 5.0, Operation.INPAINTING: 7.5},
    strength={Operation.EDIT: 0.3, Operation.INPAINTING: 0.9999},
    leaves_a_step=leaves_a_whole_step,
    components={
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "unet": "UNet2DConditionModel",
        "vae": "AutoencoderKL",
    },
    adapter_components={
        "denoiser": AdapterComponent(folder="unet", prefix=""),
        "text_encoder": AdapterComponent(folder="text_encoder", prefix="lora_te1."),
        "text_encoder_2": AdapterComponent(folder="text_encoder_2", prefix="lora_te2."),
    },
    original_names=unet_names,
    # compile() looks for adapters of both text encoders under one name; the constructor distinguishes them.
    encoder_adapters_need_construction=True,
)
