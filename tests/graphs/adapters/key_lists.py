"""The names of tensors in files that public projects list in their tests, or make with their converters and trainers.

Each list is made here from rules: ``{0-18}`` and ``{a,b}`` stand for each of their values. ``count`` is the number of
names in the source where the source is a list; elsewhere it follows from the source's rule and the model's layers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CHOICE = re.compile(r"\{([^{}]*)\}")
_KOHYA = "{alpha,lora_down.weight,lora_up.weight}"
_PEFT = "{lora_A,lora_B}.weight"
_CLIP_LEAVES = "{mlp.fc1,mlp.fc2,self_attn.k_proj,self_attn.out_proj,self_attn.q_proj,self_attn.v_proj}"
_CLIP = f"text_model.encoder.layers.{{0-11}}.{_CLIP_LEAVES}"
_CLIP_G = f"text_model.encoder.layers.{{0-31}}.{_CLIP_LEAVES}"
_T5 = (
    "encoder.block.{0-23}.layer."
    "{0.SelfAttention.{k,o,q,v},1.DenseReluDense.wi_0,1.DenseReluDense.wi_1,1.DenseReluDense.wo}"
)
_JOINT = "attn.{to_q,to_k,to_v,to_out.0,to_add_out,add_q_proj,add_k_proj,add_v_proj}"
_BFL_BLOCKS = (
    "double_blocks.{0-18}.{img,txt}_{attn.proj,attn.qkv,mlp.0,mlp.2}",
    "single_blocks.{0-37}.{linear1,linear2}",
)
_BFL_MODULATION = ("double_blocks.{0-18}.{img,txt}_mod.lin", "single_blocks.{0-37}.modulation.lin")
_BFL_OUTSIDE = "{img_in,txt_in,{time,vector,guidance}_in.{in,out}_layer,final_layer.{linear,adaLN_modulation.1}}"
_KREA = "{attn_gate,attn_wk,attn_wo,attn_wq,attn_wv,mlp_down,mlp_gate,mlp_up}"
_INVOKE = "invoke-ai/InvokeAI 8e71a8a5 tests/backend/patches/lora_conversions/lora_state_dicts"
_KOHYA_SS = "kohya-ss/sd-scripts 48d368fa networks"
_ONE_TRAINER = "Nerogar/OneTrainer a44be324 modules/util/convert/lora"
_COMFY = "comfyanonymous/ComfyUI 41444b52 comfy/lora.py"
_TOOLKIT = "ostris/ai-toolkit 27a03a91 toolkit"


@dataclass(frozen=True, kw_only=True)
class KeyList:
    """The names of one file, and what becomes of them on ``model``, a name of ``layer_models.architectures``.

    ``modules``: how many modules the names belong to; ``left_out``: those of them that are left out (rules); ``refused``: a part of the error.
    """

    source: str
    count: int
    rules: tuple[str, ...]
    model: str = "FLUX"
    modules: int = 0
    left_out: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def keys(self) -> list[str]:
        """The names, each once."""
        return names(*self.rules)


def names(*rules: str) -> list[str]:
    """Return the names that rules stand for, each once. A choice may contain choices."""
    return list(dict.fromkeys(name for rule in rules for name in _expand(rule)))


def kohya(prefix: str, *modules: str, parts: str = _KOHYA) -> tuple[str, ...]:
    """Return rules with underscores for the dots of the modules."""
    return tuple(f"{prefix}_{module.replace('.', '_')}.{parts}" for module in modules)


def dotted(prefix: str, *modules: str, parts: str = _PEFT) -> tuple[str, ...]:
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


def _diffusers_flux(*, single: str, double: str) -> tuple[str, ...]:
    return (
        f"single_transformer_blocks.{{0-37}}.{{attn.{{to_q,to_k,to_v}}{single}}}",
        f"transformer_blocks.{{0-18}}.{{{_JOINT},{{ff,ff_context}}.net.0.proj{double}}}",
    )


_FLUX_ALL = _diffusers_flux(
    single=",norm.linear,proj_mlp,proj_out", double=",{ff,ff_context}.net.2,{norm1,norm1_context}.linear"
)
_FLUX_OUTSIDE = (
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


_SD_UNET = _original_unet(
    (("{input_blocks.{1,2,4,5,7,8},output_blocks.{3-11}}", "0"), ("middle_block", "0")),
    "input_blocks.{1,2,4,5,7,8,10,11}.0,output_blocks.{0-11}.0,middle_block.{0,2}",
    "input_blocks.{4,7},output_blocks.{0-11}",
    "{input_blocks.{0.0,{3,6,9}.0.op},output_blocks.{2.1,5.2,8.2}.conv,time_embed.{0,2},out.2}",
)
_SDXL_UNET = _original_unet(
    (
        ("{input_blocks.{4,5},output_blocks.{3-5}}", "0-1"),
        ("{input_blocks.{7,8},output_blocks.{0-2},middle_block}", "0-9"),
    ),
    "input_blocks.{1,2,4,5,7,8}.0,output_blocks.{0-8}.0,middle_block.{0,2}",
    "input_blocks.{4,7},output_blocks.{0-8}",
    "{input_blocks.{0.0,{3,6}.0.op},output_blocks.{2,5}.2.conv,time_embed.{0,2},label_emb.0.{0,2},out.2}",
)
# sd-scripts trains the transformers of a UNet, under the names of diffusers for SD and the original ones for SDXL.
_SD_ATTENTION = (
    "{down_blocks.{0-2}.attentions.{0,1},mid_block.attentions.0,up_blocks.{1-3}.attentions.{0-2}}."
    "{proj_in,proj_out,transformer_blocks.0.{{attn1,attn2}.to_{k,q,v,out.0},ff.net.{0.proj,2}}}"
)
_SD3_ORIGINAL = (
    "joint_blocks.{0-23}.{x_block.{attn.qkv,attn.proj,mlp.fc1,mlp.fc2},context_block.attn.qkv}",
    "joint_blocks.{0-23}.{x_block,context_block}.adaLN_modulation.1",
    "joint_blocks.{0-22}.context_block.{attn.proj,mlp.fc1,mlp.fc2}",
)
_SD3_SWAPPED = "joint_blocks.23.context_block.adaLN_modulation.1"
_SD3_ENCODERS = (_CLIP, _CLIP_G, _T5, "text_projection", "text_projection")
_SD3_OMI = (
    "joint_blocks.{0-23}.{x_block,context_block}.attn.qkv.{0,1,2}",
    "joint_blocks.{0-12}.x_block.attn2.{qkv.0,qkv.1,qkv.2,proj}",
    "joint_blocks.{0-23}.x_block.{attn.proj,mlp.fc1,mlp.fc2}",
    "joint_blocks.{0-23}.{x_block,context_block}.adaLN_modulation.1",
    "joint_blocks.{0-22}.context_block.{attn.proj,mlp.fc1,mlp.fc2}",
    "{x_embedder.proj,context_embedder,final_layer.{linear,adaLN_modulation.1},{t,y}_embedder.mlp.{0,2}}",
)
_FLUX_OMI = (
    "double_blocks.{0-18}.{img,txt}_{attn.qkv.{0,1,2},attn.proj,mlp.0,mlp.2,mod.lin}",
    "single_blocks.{0-37}.{linear1.{0,1,2,3},linear2,modulation.lin}",
    "{img_in.proj,txt_in,{time,vector,guidance}_in.{in,out}_layer,final_layer.{linear,adaLN_modulation.1}}",
)

KEY_LISTS: tuple[KeyList, ...] = (
    # Files, as tests list them.
    KeyList(
        source=f"{_INVOKE}/flux_lora_kohya_format.py",
        count=912,
        rules=kohya("lora_unet", *_BFL_BLOCKS, *_BFL_MODULATION),
        modules=304,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_kohya_with_te1_format.py",
        count=1128,
        rules=(*kohya("lora_unet", *_BFL_BLOCKS, *_BFL_MODULATION), *kohya("lora_te1", _CLIP)),
        modules=376,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_aitoolkit_format.py",
        count=456,
        rules=dotted("diffusion_model.", *_BFL_BLOCKS),
        modules=228,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_format.py",
        count=988,
        rules=dotted("transformer.", *_FLUX_ALL),
        modules=494,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_base_model_format.py",
        count=762,
        rules=dotted(
            "base_model.model.", *_diffusers_flux(single=",proj_mlp,proj_out", double=""), "proj_out"
        ),
        modules=381,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_no_proj_mlp_format.py",
        count=684,
        rules=dotted("transformer.", *_diffusers_flux(single="", double=",{ff,ff_context}.net.2")),
        modules=342,
    ),
    KeyList(
        source="invoke-ai/InvokeAI 1b2cfe0a tests/backend/patches/lora_conversions/lora_state_dicts/"
        "flux_lora_diffusers_with_norm_out_format.py",
        count=1008,
        rules=dotted("transformer.", *_FLUX_ALL, *_FLUX_OUTSIDE),
        modules=504,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_xlabs_format.py",
        count=24,
        rules=("double_blocks.{0,1,10}.processor.{proj,qkv}_lora{1,2}.{down,up}.weight",),
        modules=12,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lokr_bfl_format.py",
        count=18,
        rules=dotted(
            "diffusion_model.",
            "double_blocks.0.{img_attn.proj,img_attn.qkv,img_mlp.0,img_mlp.2}",
            "single_blocks.0.{linear1,linear2}",
            parts="{alpha,lokr_w1,lokr_w2}",
        ),
        modules=6,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_control_lora_format.py",
        count=1094,
        rules=(
            *dotted(
                "",
                *_BFL_BLOCKS,
                *_BFL_MODULATION,
                _BFL_OUTSIDE,
                parts="{lora_A.weight,lora_B.weight,lora_B.bias}",
            ),
            "{double_blocks.{0-18}.{img,txt}_attn,single_blocks.{0-37}}.norm.{key,query}_norm.scale",
        ),
        refused="its kind, fine-tuning of normalisation layers, cannot be applied here",
    ),
    KeyList(
        source=f"{_INVOKE}/flux_dora_onetrainer_format.py",
        count=2024,
        rules=(
            *kohya("lora_te1", _CLIP, parts="{alpha,dora_scale,lora_down.weight,lora_up.weight}"),
            *kohya("lora_te2", _T5, parts="{alpha,dora_scale,lora_down.weight,lora_up.weight}"),
            *kohya(
                "lora_transformer",
                "single_transformer_blocks.{0-37}.attn.{to_q,to_k,to_v}",
                f"transformer_blocks.{{0-18}}.{_JOINT}",
                parts="{alpha,dora_scale,lora_down.weight,lora_up.weight}",
            ),
        ),
        refused="its kind, DoRA, a LoRA with trained magnitudes, cannot be applied here",
    ),
    # Files of other models. Qwen's transformer has 60 blocks whose attention is named as that of FLUX.
    KeyList(
        source=f"{_INVOKE}/qwen_image_lora_kohya_format.py",
        count=24,
        rules=kohya(
            "lora_unet",
            "transformer_blocks.{0.{attn.{to_q,to_k,to_v,to_out.0,add_k_proj},img_mlp.net.0.proj,txt_mlp.net.2},"
            "1.attn.to_k}",
            parts="{alpha,lokr_w1,lokr_w2}",
        ),
        refused="only 6 of its 8 layers are in this FLUX model",
    ),
    KeyList(
        source=f"{_INVOKE}/qwen_image_lora_diffusers_format.py",
        count=9,
        rules=("transformer_blocks.{0.attn.{to_q,to_k},1.attn.to_k}." + _KOHYA,),
        model="SD 1.5",
        refused="this Stable Diffusion model has no layer 'transformer_blocks_0_attn_to_",
    ),
    KeyList(
        source=f"{_INVOKE}/krea2_lora_kohya_format.py",
        count=120,
        rules=kohya(
            "lora_unet",
            f"{{blocks.{{0,27}},txtfusion.layerwise_blocks.0,txtfusion.refiner_blocks.1}}.{_KREA}",
            "{first,last.linear,tmlp.{0,2},tproj.1,txtfusion.projector,txtmlp.{1,3}}",
        ),
        refused="this FLUX model has no layer 'blocks_0_",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_kohya_format.py",
        count=33,
        rules=kohya(
            "lora_unet",
            "blocks.0.{{cross,self}_attn.{k,q,v,output}_proj,mlp.layer{1,2},adaln_modulation_cross_attn.1}",
        ),
        refused="this FLUX model has no layer 'blocks_0_",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_kohya_with_te_format.py",
        count=27,
        rules=(
            *kohya("lora_unet", "blocks.0.cross_attn.{k,q}_proj"),
            *kohya("lora_te", "layers.0.{self_attn.{k,q,v,o}_proj,mlp.{gate,down,up}_proj}"),
        ),
        refused="this FLUX model has no layer 'layers_0_",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_lokr_format.py",
        count=11,
        rules=(
            "diffusion_model.blocks.0.{cross_attn.{k,q}_proj,self_attn.k_proj}.{alpha,lokr_w1,lokr_w2}",
            "diffusion_model.blocks.0.cross_attn.{k,q}_proj.dora_scale",
        ),
        refused="its kind, DoRA, a LoRA with trained magnitudes, cannot be applied here",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_peft_format.py",
        count=12,
        rules=dotted("diffusion_model.blocks.0.", "{cross_attn.{k,q,v}_proj,self_attn.{k,q}_proj,mlp.layer1}"),
        refused="this FLUX model has no layer 'blocks_0_",
    ),
    KeyList(
        source="huggingface/diffusers 019c4962 src/diffusers/loaders/lora_conversion_utils.py (Qwen Image)",
        count=1440,
        rules=kohya("lora_unet", "transformer_blocks.{0-59}.attn.{to_q,to_k,to_v,to_out.0,add_k_proj,to_add_out,add_q_proj,add_v_proj}"),
        refused="only 152 of its 480 layers are in this FLUX model",
    ),
    # What converters and trainers make of all layers of a model.
    KeyList(
        source=f"{_ONE_TRAINER}/convert_flux_lora.py (OMI)",
        count=2232,
        rules=(
            *dotted("transformer.", *_FLUX_OMI, parts=_KOHYA),
            *dotted("clip_l.", _CLIP, parts=_KOHYA),
            *dotted("t5.", _T5, parts=_KOHYA),
        ),
        modules=744,
        left_out=("final_layer.adaLN_modulation.1", _T5),
    ),
    KeyList(
        source=f"{_ONE_TRAINER}/convert_flux_lora.py (legacy)",
        count=2232,
        rules=(*kohya("lora_transformer", *_FLUX_ALL, *_FLUX_OUTSIDE), *kohya("lora_te1", _CLIP), *kohya("lora_te2", _T5)),
        modules=744,
        left_out=(_T5,),
    ),
    KeyList(
        source="Nerogar/OneTrainer 6b44ee32 modules/util/convert/lora/convert_sd3_lora.py (OMI)",
        count=2481,
        rules=(
            *dotted("transformer.", *_SD3_OMI, parts=_KOHYA),
            *dotted("clip_l.", _CLIP, "text_projection", parts=_KOHYA),
            *dotted("clip_g.", _CLIP_G, "text_projection", parts=_KOHYA),
            *dotted("t5.", _T5, parts=_KOHYA),
        ),
        model="SD3.5",
        modules=827,
        left_out=("final_layer.adaLN_modulation.1", _SD3_SWAPPED, *_SD3_ENCODERS),
    ),
    KeyList(
        source="Nerogar/OneTrainer 31529e28 modules/util/convert/lora/convert_sd_lora.py (OMI)",
        count=1062,
        rules=(*dotted("unet.", *_SD_UNET, parts=_KOHYA), *dotted("clip_l.", _CLIP, parts=_KOHYA)),
        model="SD 1.5",
        modules=354,
    ),
    KeyList(
        source="Nerogar/OneTrainer 6b44ee32 modules/util/convert/lora/convert_sdxl_lora.py (OMI)",
        count=3177,
        rules=(
            *dotted("unet.", *_SDXL_UNET, parts=_KOHYA),
            *dotted("clip_l.", _CLIP, parts=_KOHYA),
            *dotted("clip_g.", _CLIP_G, "text_projection", parts=_KOHYA),
        ),
        model="SDXL",
        modules=1059,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sd1.json, named as LyCORIS f49d30d6 lycoris/kohya.py does",
        count=846,
        rules=kohya("lora_unet", *_SD_UNET),
        model="SD 1.5",
        modules=282,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sd2.json, named as LyCORIS f49d30d6 lycoris/kohya.py does",
        count=846,
        rules=kohya("lora_unet", *_SD_UNET),
        model="SD 2.1",
        modules=282,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sdxl.json, named as LyCORIS f49d30d6 lycoris/kohya.py does",
        count=2382,
        rules=kohya("lora_unet", *_SDXL_UNET),
        model="SDXL",
        modules=794,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora.py (264 modules)",
        count=792,
        rules=(*kohya("lora_unet", _SD_ATTENTION), *kohya("lora_te", _CLIP)),
        model="SD 1.5",
        modules=264,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora.py (SDXL)",
        count=2958,
        rules=(
            *kohya("lora_unet", *_SDXL_UNET[:4]),
            *kohya("lora_te1", _CLIP),
            *kohya("lora_te2", _CLIP_G),
        ),
        model="SDXL",
        modules=986,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora_sd3.py",
        count=1503,
        rules=(
            *kohya("lora_unet", *_SD3_ORIGINAL),
            *kohya("lora_te1", _CLIP),
            *kohya("lora_te2", _CLIP_G),
        ),
        model="SD3",
        modules=501,
        left_out=(_SD3_SWAPPED, *_SD3_ENCODERS[:2]),
    ),
    KeyList(
        source=f"{_COMFY} (generic names of FLUX)",
        count=1108,
        rules=(
            *dotted("diffusion_model.", *_BFL_BLOCKS, *_BFL_MODULATION, _BFL_OUTSIDE),
            *dotted("text_encoders.clip_l.transformer.", _CLIP),
            *dotted("text_encoders.t5xxl.transformer.", _T5),
        ),
        modules=554,
        left_out=("final_layer.adaLN_modulation.1", _T5),
    ),
    KeyList(
        source=f"{_COMFY} (generic names of SDXL)",
        count=2118,
        rules=(
            *dotted("diffusion_model.", *_SDXL_UNET),
            *dotted("text_encoders.clip_l.transformer.", _CLIP),
            *dotted("text_encoders.clip_g.transformer.", _CLIP_G, "text_projection"),
        ),
        model="SDXL",
        modules=1059,
    ),
    KeyList(
        source=f"{_COMFY} (SimpleTuner's LyCORIS of FLUX)",
        count=1482,
        rules=kohya("lycoris", *_FLUX_ALL, parts="{alpha,lokr_w1,lokr_w2}"),
        modules=494,
    ),
)
