"""Stable Diffusion 1 and 2."""

from graphs.families.family import AdapterComponent, Family, Operation, for_every_operation
from graphs.families.stable_diffusion_names import unet_names
from graphs.families.strength import leaves_a_whole_step

SD = Family(
    name="Stable Diffusion",
    class_names=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    prompts=1,
    negative_prompts=1,
    guidance_scale=for_every_operation(7.5),
    strength={Operation.EDIT: 0.8, Operation.INPAINTING: 1.0},
    leaves_a_step=leaves_a_whole_step,
    components={"text_encoder": "CLIPTextModel", "unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
    adapter_components={
        "denoiser": AdapterComponent(folder="unet", prefix=""),
        "text_encoder": AdapterComponent(folder="text_encoder", prefix="lora_te."),
    },
    original_names=unet_names,
)
