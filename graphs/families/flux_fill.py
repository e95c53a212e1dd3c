"""FLUX.1 Fill: FLUX trained for inpainting."""

from graphs.families.family import FLOW_MATCH_SCHEDULERS, Family, Operation, for_every_operation
from graphs.families.flux import ADAPTER_COMPONENTS, COMPONENTS, original_names
from graphs.families.strength import leaves_part_of_a_step


def _filled_channels(latent_channels: int) -> tuple[int, ...]:
    """Return the channels of the packed latent, of the packed masked latent, and of the mask's 16 by 16 pixels."""
    return (2 * 4 * latent_channels + 16 * 16,)


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
    components=COMPONENTS,
    schedulers=FLOW_MATCH_SCHEDULERS,
    denoiser_channels=_filled_channels,
    adapter_components=ADAPTER_COMPONENTS,
    original_names=original_names,
)
