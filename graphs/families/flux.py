"""FLUX.1."""

import re
from collections.abc import Collection

from graphs.families.family import FLOW_MATCH_SCHEDULERS, AdapterComponent, Family, Operation
from graphs.families.strength import leaves_part_of_a_step

_BLOCK = re.compile(r"(double|single)_blocks_(\d+)_(.+)")
# Not here: final_layer_adaLN_modulation_1, whose halves (shift and scale) diffusers puts in the other order.
_OUTSIDE_BLOCKS = {
    "img_in": "x_embedder",
    "img_in_proj": "x_embedder",  # as OneTrainer calls it
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed_timestep_embedder_linear_1",
    "time_in_out_layer": "time_text_embed_timestep_embedder_linear_2",
    "vector_in_in_layer": "time_text_embed_text_embedder_linear_1",
    "vector_in_out_layer": "time_text_embed_text_embedder_linear_2",
    "guidance_in_in_layer": "time_text_embed_guidance_embedder_linear_1",
    "guidance_in_out_layer": "time_text_embed_guidance_embedder_linear_2",
    "final_layer_linear": "proj_out",
}
_LEAVES = {
    "img_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "txt_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "img_attn_proj": ("attn_to_out_0",),
    "txt_attn_proj": ("attn_to_add_out",),
    "img_mlp_0": ("ff_net_0_proj",),
    "img_mlp_2": ("ff_net_2",),
    "txt_mlp_0": ("ff_context_net_0_proj",),
    "txt_mlp_2": ("ff_context_net_2",),
    "img_mod_lin": ("norm1_linear",),
    "txt_mod_lin": ("norm1_context_linear",),
    "linear1": ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm_linear",),
    # OneTrainer keeps the names, and numbers the parts that are one layer there.
    **{f"img_attn_qkv_{number}": (f"attn_to_{leaf}",) for number, leaf in enumerate("qkv")},
    **{f"txt_attn_qkv_{number}": (f"attn_add_{leaf}_proj",) for number, leaf in enumerate("qkv")},
    **{f"linear1_{number}": (f"attn_to_{leaf}",) for number, leaf in enumerate("qkv")},
    "linear1_3": ("proj_mlp",),
    # XLabs numbers the image's and the text's stream of a double block; a single block has one.
    "qkv_1": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "qkv_2": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "proj_1": ("attn_to_out_0",),
    "proj_2": ("attn_to_add_out",),
    "qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "proj": ("proj_out",),
}


def original_names(module: str, layers: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return the diffusers names of a layer that has the name of Black Forest Labs, OneTrainer or XLabs, else nothing.

    One layer of theirs may be several in diffusers; these come in the order of its output rows.
    """
    if module in _OUTSIDE_BLOCKS:
        return ((_OUTSIDE_BLOCKS[module],),)
    block = _BLOCK.fullmatch(module)
    leaves = _LEAVES.get(block[3]) if block else None
    if block is None or leaves is None:
        return ()
    kind = "transformer_blocks" if block[1] == "double" else "single_transformer_blocks"
    return (tuple(f"{kind}_{block[2]}_{leaf}" for leaf in leaves),)


# Measured: of the two text encoders only the first takes an adapter.
ADAPTER_COMPONENTS = {
    "denoiser": AdapterComponent(folder="transformer", prefix="transformer."),
    "text_encoder": AdapterComponent(folder="text_encoder", prefix="lora_te."),
}

COMPONENTS = {
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "T5EncoderModel",
    "transformer": "FluxTransformer2DModel",
    "vae": "AutoencoderKL",
}


def packed_channels(latent_channels: int) -> tuple[int, ...]:
    """Return the channels of FLUX's input, in which 2 by 2 places of the latent are one."""
    return (4 * latent_channels,)


FLUX = Family(
    name="FLUX",
    class_names=("FluxPipeline", "FluxInpaintPipeline"),
    prompts=2,
    negative_prompts=0,
    guidance_scale={Operation.GENERATION: 3.5, Operation.EDIT: 7.0, Operation.INPAINTING: 7.0},
    strength={Operation.EDIT: 0.6, Operation.INPAINTING: 0.6},
    leaves_a_step=leaves_part_of_a_step,
    size_multiple=16,
    max_sequence_length=512,
    components=COMPONENTS,
    schedulers=FLOW_MATCH_SCHEDULERS,
    denoiser_channels=packed_channels,
    adapter_components=ADAPTER_COMPONENTS,
    original_names=original_names,
)
