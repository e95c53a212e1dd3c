"""Rules that stand for many names of tensors: ``{0-18}`` and ``{a,b}`` stand for each of their values."""

import re
from collections.abc import Iterator

_CHOICE = re.compile(r"\{([^{}]*)\}")
KOHYA = "{alpha,lora_down.weight,lora_up.weight}"
PEFT = "{lora_A,lora_B}.weight"
CLIP_LEAVES = "{mlp.fc1,mlp.fc2,self_attn.k_proj,self_attn.out_proj,self_attn.q_proj,self_attn.v_proj}"
CLIP = f"text_model.encoder.layers.{{0-11}}.{CLIP_LEAVES}"
CLIP_G = f"text_model.encoder.layers.{{0-31}}.{CLIP_LEAVES}"
T5 = (
    "encoder.block.{0-23}.layer."
    "{0.SelfAttention.{k,o,q,v},1.DenseReluDense.wi_0,1.DenseReluDense.wi_1,1.DenseReluDense.wo}"
)
JOINT = "attn.{to_q,to_k,to_v,to_out.0,to_add_out,add_q_proj,add_k_proj,add_v_proj}"
BFL_BLOCKS = (
    "double_blocks.{0-18}.{img,txt}_{attn.proj,attn.qkv,mlp.0,mlp.2}",
    "single_blocks.{0-37}.{linear1,linear2}",
)
BFL_MODULATION = ("double_blocks.{0-18}.{img,txt}_mod.lin", "single_blocks.{0-37}.modulation.lin")
BFL_OUTSIDE = "{img_in,txt_in,{time,vector,guidance}_in.{in,out}_layer,final_layer.{linear,adaLN_modulation.1}}"
KREA = "{attn_gate,attn_wk,attn_wo,attn_wq,attn_wv,mlp_down,mlp_gate,mlp_up}"


def names(*rules: str) -> list[str]:
    """Return the names that rules stand for, each once. A choice may contain choices."""
    return list(dict.fromkeys(name for rule in rules for name in _expand(rule)))


def kohya(prefix: str, *modules: str, parts: str = KOHYA) -> tuple[str, ...]:
    """Return rules with underscores for the dots of the modules."""
    return tuple(f"{prefix}_{module.replace('.', '_')}.{parts}" for module in modules)


def dotted(prefix: str, *modules: str, parts: str = PEFT) -> tuple[str, ...]:
    return tuple(f"{prefix}{module}.{parts}" for module in modules)


def _expand(rule: str) -> Iterator[str]:
    if match := _CHOICE.search(rule):
        for value in _values(match[1]):
            yield from _expand(f"{rule[: match.start()]}{value}{rule[match.end() :]}")
    else:
        yield rule


def _values(choice: str) -> list[str]:
    if span := re.fullmatch(r"(\d+)-(\d+)", choice):
        return [str(number) for number in range(int(span[1]), int(span[2]) + 1)]
    return choice.split(",")


def diffusers_flux(*, single: str, double: str) -> tuple[str, ...]:
    return (
        f"single_transformer_blocks.{{0-37}}.{{attn.{{to_q,to_k,to_v}}{single}}}",
        f"transformer_blocks.{{0-18}}.{{{JOINT},{{ff,ff_context}}.net.0.proj{double}}}",
    )


FLUX_ALL = diffusers_flux(
    single=",norm.linear,proj_mlp,proj_out", double=",{ff,ff_context}.net.2,{norm1,norm1_context}.linear"
)
FLUX_OUTSIDE = (
    "{x_embedder,context_embedder,norm_out.linear,proj_out}",
    "time_text_embed.{timestep,guidance,text}_embedder.{linear_1,linear_2}",
)


def _original_unet(attention: tuple[tuple[str, str], ...], resnets: str, skips: str, rest: str) -> tuple[str, ...]:
    """Return rules for all layers of an original UNet.

    ``attention``: blocks and the numbers of their transformer layers; ``resnets``, ``skips``: the blocks that have
    these; ``rest``: all other layers.
    """
    leaves = "{{attn1,attn2}.to_{k,q,v,out.0},ff.net.{0.proj,2}}"
    return (
        *(f"{blocks}.1.{{proj_in,proj_out}}" for blocks, _ in attention),
        *(f"{blocks}.1.transformer_blocks.{{{depth}}}.{leaves}" for blocks, depth in attention),
        f"{{{resnets}}}.{{in_layers.2,out_layers.3,emb_layers.1}}",
        f"{{{skips}}}.0.skip_connection",
        rest,
    )


SD_UNET = _original_unet(
    (("{input_blocks.{1,2,4,5,7,8},output_blocks.{3-11}}", "0"), ("middle_block", "0")),
    "input_blocks.{1,2,4,5,7,8,10,11}.0,output_blocks.{0-11}.0,middle_block.{0,2}",
    "input_blocks.{4,7},output_blocks.{0-11}",
    "{input_blocks.{0.0,{3,6,9}.0.op},output_blocks.{2.1,5.2,8.2}.conv,time_embed.{0,2},out.2}",
)
SDXL_UNET = _original_unet(
    (
        ("{input_blocks.{4,5},output_blocks.{3-5}}", "0-1"),
        ("{input_blocks.{7,8},output_blocks.{0-2},middle_block}", "0-9"),
    ),
    "input_blocks.{1,2,4,5,7,8}.0,output_blocks.{0-8}.0,middle_block.{0,2}",
    "input_blocks.{4,7},output_blocks.{0-8}",
    "{input_blocks.{0.0,{3,6}.0.op},output_blocks.{2,5}.2.conv,time_embed.{0,2},label_emb.0.{0,2},out.2}",
)
# sd-scripts trains the transformers of a UNet, under the names of diffusers for SD and the original ones for SDXL.
SD_ATTENTION = (
    "{down_blocks.{0-2}.attentions.{0,1},mid_block.attentions.0,up_blocks.{1-3}.attentions.{0-2}}."
    "{proj_in,proj_out,transformer_blocks.0.{{attn1,attn2}.to_{k,q,v,out.0},ff.net.{0.proj,2}}}"
)
SD3_ORIGINAL = (
    "joint_blocks.{0-23}.{x_block.{attn.qkv,attn.proj,mlp.fc1,mlp.fc2},context_block.attn.qkv}",
    "joint_blocks.{0-23}.{x_block,context_block}.adaLN_modulation.1",
    "joint_blocks.{0-22}.context_block.{attn.proj,mlp.fc1,mlp.fc2}",
)
SD3_SWAPPED = "joint_blocks.23.context_block.adaLN_modulation.1"
SD3_ENCODERS = (CLIP, CLIP_G, T5, "text_projection", "text_projection")
SD3_OMI = (
    "joint_blocks.{0-23}.{x_block,context_block}.attn.qkv.{0,1,2}",
    "joint_blocks.{0-12}.x_block.attn2.{qkv.0,qkv.1,qkv.2,proj}",
    "joint_blocks.{0-23}.x_block.{attn.proj,mlp.fc1,mlp.fc2}",
    "joint_blocks.{0-23}.{x_block,context_block}.adaLN_modulation.1",
    "joint_blocks.{0-22}.context_block.{attn.proj,mlp.fc1,mlp.fc2}",
    "{x_embedder.proj,context_embedder,final_layer.{linear,adaLN_modulation.1},{t,y}_embedder.mlp.{0,2}}",
)
FLUX_OMI = (
    "double_blocks.{0-18}.{img,txt}_{attn.qkv.{0,1,2},attn.proj,mlp.0,mlp.2,mod.lin}",
    "single_blocks.{0-37}.{linear1.{0,1,2,3},linear2,modulation.lin}",
    "{img_in.proj,txt_in,{time,vector,guidance}_in.{in,out}_layer,final_layer.{linear,adaLN_modulation.1}}",
)
