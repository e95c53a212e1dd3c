"""Stable Diffusion 3 and 3.5."""

import re
from collections.abc import Collection

from graphs.families.family import FLOW_MATCH_SCHEDULERS, AdapterComponent, Family, Operation, for_every_operation
from graphs.families.strength import leaves_part_of_a_step

_BLOCK = re.compile(r"joint_blocks_(\d+)_(.+)")
# Not here: final_layer_adaLN_modulation_1, whose halves (shift and scale) diffusers puts in the other order.
_OUTSIDE_BLOCKS = {
    "x_embedder_proj": "pos_embed_proj",
    "t_embedder_mlp_0": "time_text_embed_timestep_embedder_linear_1",
    "t_embedder_mlp_2": "time_text_embed_timestep_embedder_linear_2",
    "y_embedder_mlp_0": "time_text_embed_text_embedder_linear_1",
    "y_embedder_mlp_2": "time_text_embed_text_embedder_linear_2",
    "final_layer_linear": "proj_out",
}
_LEAVES = {
    "x_block_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "x_block_attn_proj": ("attn_to_out_0",),
    "x_block_attn2_qkv": ("attn2_to_q", "attn2_to_k", "attn2_to_v"),
    "x_block_attn2_proj": ("attn2_to_out_0",),
    "x_block_mlp_fc1": ("ff_net_0_proj",),
    "x_block_mlp_fc2": ("ff_net_2",),
    "x_block_adaLN_modulation_1": ("norm1_linear",),
    "context_block_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "context_block_attn_proj": ("attn_to_add_out",),
    # OneTrainer keeps the names, and numbers the parts that are one layer there.
    **{f"x_block_attn_qkv_{number}": (f"attn_to_{leaf}",) for number, leaf in enumerate("qkv")},
    **{f"x_block_attn2_qkv_{number}": (f"attn2_to_{leaf}",) for number, leaf in enumerate("qkv")},
    **{f"context_block_attn_qkv_{number}": (f"attn_add_{leaf}_proj",) for number, leaf in enumerate("qkv")},
    "context_block_mlp_fc1": ("ff_context_net_0_proj",),
    "context_block_mlp_fc2": ("ff_context_net_2",),
    "context_block_adaLN_modulation_1": ("norm1_context_linear",),
}


def original_names(module: str, layers: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return the diffusers names of a layer that has the name of Stability AI or OneTrainer, else nothing.

    One layer of theirs may be several in diffusers; these come in the order of its output rows. ``layers``: the names
    of the model's layers.
    """
    if module in _OUTSIDE_BLOCKS:
        return ((_OUTSIDE_BLOCKS[module],),)
    block = _BLOCK.fullmatch(module)
    leaves = _LEAVES.get(block[2]) if block else None
    if block is None or leaves is None:
        return ()
    start = f"transformer_blocks_{block[1]}"
    if leaves == ("norm1_context_linear",) and f"{start}_ff_context_net_2" not in layers:
        return ()  # the last block, where diffusers puts scale before shift
    return (tuple(f"{start}_{leaf}" for leaf in leaves),)


SD3 = Family(
    name="Stable Diffusion 3",
    class_names=("StableDiffusion3Pipeline", "StableDiffusion3InpaintPipeline"),
    prompts=3,
    negative_prompts=3,
    guidance_scale=for_every_operation(7.0),
    strength={Operation.EDIT: 0.6, Operation.INPAINTING: 0.6},
    leaves_a_step=leaves_part_of_a_step,
    size_multiple=16,
    max_sequence_length=256,
    keeps_prompt_batch=True,
    components={
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "text_encoder_3": "T5EncoderModel",
        "transformer": "SD3Transformer2DModel",
        "vae": "AutoencoderKL",
    },
    optional_components=("text_encoder_3",),
    schedulers=FLOW_MATCH_SCHEDULERS,
    # Measured: its text encoders take no adapter.
    adapter_components={"denoiser": AdapterComponent(folder="transformer", prefix="transformer.")},
    original_names=original_names,
    # Measured: with adapters compiled in, its pipelines refuse to generate ("Cannot change adapters").
    compiles_adapters=False,
)
