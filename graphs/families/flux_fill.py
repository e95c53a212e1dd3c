"""FLUX.1 Fill: FLUX trained for inpainting."""

from graphs.families.family import Family, Operation, for_every_operation
from graphs.families.flux import ADAPTER_COMPONENTS, original_names
from graphs.families.strength import leaves_part_of_a_step

FLUX_FILL = Family(
    name="FLUX Fill",
    class_names=("FluxFillPipeline",),
    prompts=2,
    negative_prompts=0,
    guidance_scale=for_every_operation(30.0),
    strength={Operation.EDIT: 1.0, Operation.INPAINTING: 1.0},
    leaves_a_step=leaves_part_of_a_step,
    size_multiple=16,
    max_sequence_length=512,
    adapter_components=ADAPTER_COMPONENTS,
    original_names=original_names,
)
