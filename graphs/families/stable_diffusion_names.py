"""The layer names of the original Stable Diffusion checkpoints (CompVis, Stability AI), as their adapters use them."""

import re
from collections.abc import Collection
from itertools import count

_BLOCK = re.compile(r"(input_blocks|output_blocks)_(\d+)_(\d+)_(.+)")
_MIDDLE = re.compile(r"middle_block_([012])_(.+)")
_KINDS = ("resnets", "attentions", "upsamplers")
_LEAVES = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE_BLOCKS = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
}


def unet_names(module: str, layers: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return the diffusers name of an original UNet layer, nothing for a name of another form.

    The original numbers all blocks of one direction consecutively; ``layers``, the names of the model's layers, tell
    how many of them are one block in diffusers.
    """
    name = _unet_name(module, layers)
    return ((name,),) if name else ()


def _unet_name(module: str, layers: Collection[str]) -> str | None:
    if module in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[module]
    if middle := _MIDDLE.fullmatch(module):
        inside = ("resnets_0", "attentions_0", "resnets_1")[int(middle[1])]
        return f"mid_block_{inside}_{_LEAVES.get(middle[2], middle[2])}"
    block = _BLOCK.fullmatch(module)
    if block is None:
        return None
    number = int(block[2])
    kind = int(block[3])
    leaf = block[4]
    per_block = next(number for number in count() if f"down_blocks_0_resnets_{number}_conv1" not in layers) + 1
    leaf = _LEAVES.get(leaf, leaf)
    if block[1] == "input_blocks":
        if leaf == "op":
            return f"down_blocks_{(number - 1) // per_block}_downsamplers_0_conv"
        return f"down_blocks_{(number - 1) // per_block}_{_KINDS[min(kind, 2)]}_{(number - 1) % per_block}_{leaf}"
    if leaf == "conv":
        return f"up_blocks_{number // per_block}_upsamplers_0_conv"
    return f"up_blocks_{number // per_block}_{_KINDS[min(kind, 2)]}_{number % per_block}_{leaf}"
