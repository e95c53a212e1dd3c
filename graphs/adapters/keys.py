"""What the tensors of LoRA files are called: kohya, PEFT, diffusers old and new, and the original SD and FLUX names.

The names are those that diffusers' ``lora_conversion_utils.py`` and GenAI's ``lora/names_mapping.cpp`` know. A
module is looked up with underscores for dots, as kohya writes it, so that every form comes to the same name.
"""

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["down", "up", "alpha"]

_PART = re.compile(
    r"(?P<module>.+?)(?:[._]lora[._](?P<part>A|B|down|up)(?:\.default)?\.weight|\.(?P<alpha>alpha))", re.DOTALL
)
_PREFIXES: tuple[tuple[str, str | None], ...] = (
    ("lora_unet_", "denoiser"),
    ("lora_transformer_", "denoiser"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te1_", "text_encoder"),
    ("lora_te_", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("unet.", "denoiser"),
    ("transformer.", "denoiser"),
    ("diffusion_model.", "denoiser"),
)
_PEFT = "base_model.model."

_SGM_BLOCK = re.compile(r"(input_blocks|output_blocks)_(\d+)_(\d+)_(.+)")
_SGM_MIDDLE = re.compile(r"middle_block_([012])_(.+)")
_SGM_KINDS = ("resnets", "attentions", "upsamplers")
_SGM_LEAVES = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_SGM_WHOLE = {
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
}
_FLUX_BLOCK = re.compile(r"(double|single)_blocks_(\d+)_(.+)")
_FLUX_LEAVES = {
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
}


@dataclass(frozen=True)
class AdapterKey:
    """A tensor's name, understood: ``component`` is ``denoiser``, ``text_encoder`` or ``text_encoder_2``."""

    component: str
    module: str
    part: Part


def read_key(key: str) -> AdapterKey | None:
    """Return what a tensor's name says, None for one that no LoRA has; ``module`` has underscores for dots."""
    match = _PART.fullmatch(key)
    if match is None:
        return None
    part: Part = "alpha" if match["alpha"] else "down" if match["part"] in ("A", "down") else "up"
    component, module = _component(match["module"].removeprefix(_PEFT))
    module = module.removeprefix(_PEFT).replace(".processor", "")
    return AdapterKey(component, module.replace(".", "_"), part)


def module_names(module: str, layers_per_block: int) -> tuple[tuple[str, ...], ...]:
    """Return the names a module may have in the model, likeliest first.

    More than one name at once: the layers that an exported model has for one fused layer of the original, in the
    order of its output rows.
    """
    found: list[tuple[str, ...]] = [(module,)]
    if module.endswith("_to_out"):
        found.append((f"{module}_0",))
    found += [(name,) for name in (_from_sgm(module, layers_per_block),) if name]
    if flux := _FLUX_BLOCK.fullmatch(module):
        kind = "transformer_blocks" if flux[1] == "double" else "single_transformer_blocks"
        found.append(tuple(f"{kind}_{flux[2]}_{leaf}" for leaf in _FLUX_LEAVES.get(flux[3], ())))
    return tuple(names for names in found if names)


def _component(name: str) -> tuple[str, str]:
    for prefix, component in _PREFIXES:
        if component is not None and name.startswith(prefix):
            return component, name.removeprefix(prefix)
    return "denoiser", name


def _from_sgm(module: str, layers_per_block: int) -> str | None:
    """The diffusers name of a layer of the original Stable Diffusion: its blocks are counted in one row."""
    if module in _SGM_WHOLE:
        return _SGM_WHOLE[module]
    if middle := _SGM_MIDDLE.fullmatch(module):
        inside = ("resnets_0", "attentions_0", "resnets_1")[int(middle[1])]
        return f"mid_block_{inside}_{_SGM_LEAVES.get(middle[2], middle[2])}"
    block = _SGM_BLOCK.fullmatch(module)
    if block is None:
        return None
    place, kind, leaf = int(block[2]), int(block[3]), block[4]
    row = layers_per_block + 1
    leaf = _SGM_LEAVES.get(leaf, leaf)
    if block[1] == "input_blocks":
        if place == 0:
            return "conv_in"
        if leaf == "op":
            return f"down_blocks_{(place - 1) // row}_downsamplers_0_conv"
        return f"down_blocks_{(place - 1) // row}_{_SGM_KINDS[min(kind, 2)]}_{(place - 1) % row}_{leaf}"
    if leaf == "conv":
        return f"up_blocks_{place // row}_upsamplers_0_conv"
    return f"up_blocks_{place // row}_{_SGM_KINDS[min(kind, 2)]}_{place % row}_{leaf}"
