"""Stable Diffusion 3 and 3.5."""

from graphs.families.family import AdapterComponent, Family, Operation, for_every_operation
from graphs.families.strength import leaves_part_of_a_step

SD3 = Family(
    name="Stable Diffusion 3",
    class_names=("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
    prompts=3,
    negative_prompts=3,
    guidance_scale=for_every_operation(7.0),
    strength={Operation.EDIT: 0.6, Operation.INPAINTING: 0.6},
    leaves_a_step=leaves_part_of_a_step,
    size_multiple=16,
    max_sequence_length=256,
    keeps_prompt_batch=True,
    # Measured: its text encoders take no adapter.
    adapter_components={"denoiser": AdapterComponent(folder="transformer", prefix="transformer.")},
    # Measured: with adapters compiled in, its pipelines refuse to generate ("Cannot change adapters").
    compiles_adapters=False,
)
