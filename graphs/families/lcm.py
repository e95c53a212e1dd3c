"""Latent Consistency Models: distilled from Stable Diffusion, for few steps."""

from graphs.families.family import AdapterComponent, Family, Operation, for_every_operation
from graphs.families.stable_diffusion_names import unet_names
from graphs.families.strength import leaves_a_whole_step

_ORIGINAL_STEPS = 50


def _leaves_a_step(strength: float, steps: int) -> bool:
    """The steps are taken from the first part of 50; with none in it, the runtime ends the process."""
    return leaves_a_whole_step(strength, _ORIGINAL_STEPS)


LCM = Family(
    name="Latent Consistency Model",
    class_names=("LatentConsistencyModelPipeline",),
    prompts=1,
    negative_prompts=0,
    guidance_scale=for_every_operation(8.5),
    strength={Operation.EDIT: 0.8, Operation.INPAINTING: 1.0},
    leaves_a_step=_leaves_a_step,
    # Measured: compiled for a batch, it fails at its first generation (its timestep_cond keeps batch 1).
    draws_static_batches=False,
    components={"text_encoder": "CLIPTextModel", "unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
    adapter_components={
        "denoiser": AdapterComponent(folder="unet", prefix=""),
        "text_encoder": AdapterComponent(folder="text_encoder", prefix="lora_te."),
    },
    original_names=unet_names,
)
