"""The names of tensors in files that public projects list in their tests, or make with their converters and trainers.

Each list is made from rules (``key_rules.py``). ``count`` is the number of names in the source where the source is a
list; elsewhere it follows from the source's rule and the model's layers.
"""

from dataclasses import dataclass

from tests.graphs.adapters.key_rules import (
    BFL_BLOCKS,
    BFL_MODULATION,
    BFL_OUTSIDE,
    CLIP,
    CLIP_G,
    FLUX_ALL,
    FLUX_OMI,
    FLUX_OUTSIDE,
    JOINT,
    KOHYA,
    KREA,
    SD3_ENCODERS,
    SD3_OMI,
    SD3_ORIGINAL,
    SD3_SWAPPED,
    SD_ATTENTION,
    SD_UNET,
    SDXL_UNET,
    T5,
    diffusers_flux,
    dotted,
    kohya,
    names,
)

_INVOKE = "invoke-ai/InvokeAI 8e71a8a5 tests/backend/patches/lora_conversions/lora_state_dicts"
_KOHYA_SS = "kohya-ss/sd-scripts 48d368fa networks"
_ONE_TRAINER = "Nerogar/OneTrainer a44be324 modules/util/convert/lora"
_COMFY = "comfyanonymous/ComfyUI 41444b52 comfy/lora.py"
_TOOLKIT = "ostris/ai-toolkit 27a03a91 toolkit"


@dataclass(frozen=True, kw_only=True)
class KeyList:
    """The names of one file, and what becomes of them on ``model``, a name of ``layer_models.architectures``.

    ``modules``: how many modules the names belong to; ``left_out``: those of them that are left out (rules);
    ``refused``: a part of the error.
    """

    source: str
    count: int
    rules: tuple[str, ...]
    model: str = "FLUX"
    modules: int = 0
    left_out: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def row(self) -> str:
        """The list's row in the table of docs/lora.md."""
        missing = sum(len(names(rule)) for rule in self.left_out)
        fits = f"{self.modules - missing} of {self.modules} layers" if missing else f"all {self.modules} layers"
        outcome = f"refused: {self.refused}" if self.refused else fits
        return f"| {self.source} | {self.count} | {self.model} | {outcome} |"

    @property
    def keys(self) -> list[str]:
        """The names, each once."""
        return names(*self.rules)


KEY_LISTS: tuple[KeyList, ...] = (
    # Files, as tests list them.
    KeyList(
        source=f"{_INVOKE}/flux_lora_kohya_format.py",
        count=912,
        rules=kohya("lora_unet", *BFL_BLOCKS, *BFL_MODULATION),
        modules=304,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_kohya_with_te1_format.py",
        count=1128,
        rules=(*kohya("lora_unet", *BFL_BLOCKS, *BFL_MODULATION), *kohya("lora_te1", CLIP)),
        modules=376,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_aitoolkit_format.py",
        count=456,
        rules=dotted("diffusion_model.", *BFL_BLOCKS),
        modules=228,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_format.py",
        count=988,
        rules=dotted("transformer.", *FLUX_ALL),
        modules=494,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_base_model_format.py",
        count=762,
        rules=dotted("base_model.model.", *diffusers_flux(single=",proj_mlp,proj_out", double=""), "proj_out"),
        modules=381,
    ),
    KeyList(
        source=f"{_INVOKE}/flux_lora_diffusers_no_proj_mlp_format.py",
        count=684,
        rules=dotted("transformer.", *diffusers_flux(single="", double=",{ff,ff_context}.net.2")),
        modules=342,
    ),
    KeyList(
        source="invoke-ai/InvokeAI 1b2cfe0a tests/backend/patches/lora_conversions/lora_state_dicts/"
        "flux_lora_diffusers_with_norm_out_format.py",
        count=1008,
        rules=dotted("transformer.", *FLUX_ALL, *FLUX_OUTSIDE),
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
                *BFL_BLOCKS,
                *BFL_MODULATION,
                BFL_OUTSIDE,
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
            *kohya("lora_te1", CLIP, parts="{alpha,dora_scale,lora_down.weight,lora_up.weight}"),
            *kohya("lora_te2", T5, parts="{alpha,dora_scale,lora_down.weight,lora_up.weight}"),
            *kohya(
                "lora_transformer",
                "single_transformer_blocks.{0-37}.attn.{to_q,to_k,to_v}",
                f"transformer_blocks.{{0-18}}.{JOINT}",
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
        rules=("transformer_blocks.{0.attn.{to_q,to_k},1.attn.to_k}." + KOHYA,),
        model="SD 1.5",
        refused="this Stable Diffusion model has no layer",
    ),
    KeyList(
        source=f"{_INVOKE}/krea2_lora_kohya_format.py",
        count=120,
        rules=kohya(
            "lora_unet",
            f"{{blocks.{{0,27}},txtfusion.layerwise_blocks.0,txtfusion.refiner_blocks.1}}.{KREA}",
            "{first,last.linear,tmlp.{0,2},tproj.1,txtfusion.projector,txtmlp.{1,3}}",
        ),
        refused="this FLUX model has no layer",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_kohya_format.py",
        count=33,
        rules=kohya(
            "lora_unet",
            "blocks.0.{{cross,self}_attn.{k,q,v,output}_proj,mlp.layer{1,2},adaln_modulation_cross_attn.1}",
        ),
        refused="this FLUX model has no layer",
    ),
    KeyList(
        source=f"{_INVOKE}/anima_lora_kohya_with_te_format.py",
        count=27,
        rules=(
            *kohya("lora_unet", "blocks.0.cross_attn.{k,q}_proj"),
            *kohya("lora_te", "layers.0.{self_attn.{k,q,v,o}_proj,mlp.{gate,down,up}_proj}"),
        ),
        refused="this FLUX model has no layer",
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
        refused="this FLUX model has no layer",
    ),
    KeyList(
        source=f"{_INVOKE}/qwen_image_lora_kohya_format.py, the attention of all 60 blocks",
        count=1440,
        rules=kohya(
            "lora_unet",
            "transformer_blocks.{0-59}.attn.{to_q,to_k,to_v,to_out.0,add_k_proj,to_add_out,add_q_proj,add_v_proj}",
        ),
        refused="only 152 of its 480 layers are in this FLUX model",
    ),
    # What converters and trainers make of all layers of a model.
    KeyList(
        source=f"{_ONE_TRAINER}/convert_flux_lora.py (OMI)",
        count=2232,
        rules=(
            *dotted("transformer.", *FLUX_OMI, parts=KOHYA),
            *dotted("clip_l.", CLIP, parts=KOHYA),
            *dotted("t5.", T5, parts=KOHYA),
        ),
        modules=744,
        left_out=("final_layer.adaLN_modulation.1", T5),
    ),
    KeyList(
        source=f"{_ONE_TRAINER}/convert_flux_lora.py (legacy)",
        count=2232,
        rules=(
            *kohya("lora_transformer", *FLUX_ALL, *FLUX_OUTSIDE),
            *kohya("lora_te1", CLIP),
            *kohya("lora_te2", T5),
        ),
        modules=744,
        left_out=(T5,),
    ),
    KeyList(
        source="Nerogar/OneTrainer 6b44ee32 modules/util/convert/lora/convert_sd3_lora.py (OMI)",
        count=2481,
        rules=(
            *dotted("transformer.", *SD3_OMI, parts=KOHYA),
            *dotted("clip_l.", CLIP, "text_projection", parts=KOHYA),
            *dotted("clip_g.", CLIP_G, "text_projection", parts=KOHYA),
            *dotted("t5.", T5, parts=KOHYA),
        ),
        model="SD3.5",
        modules=827,
        left_out=("final_layer.adaLN_modulation.1", SD3_SWAPPED, *SD3_ENCODERS),
    ),
    KeyList(
        source="Nerogar/OneTrainer 31529e28 modules/util/convert/lora/convert_sd_lora.py (OMI)",
        count=1062,
        rules=(*dotted("unet.", *SD_UNET, parts=KOHYA), *dotted("clip_l.", CLIP, parts=KOHYA)),
        model="SD 1.5",
        modules=354,
    ),
    KeyList(
        source="Nerogar/OneTrainer 6b44ee32 modules/util/convert/lora/convert_sdxl_lora.py (OMI)",
        count=3177,
        rules=(
            *dotted("unet.", *SDXL_UNET, parts=KOHYA),
            *dotted("clip_l.", CLIP, parts=KOHYA),
            *dotted("clip_g.", CLIP_G, "text_projection", parts=KOHYA),
        ),
        model="SDXL",
        modules=1059,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sd1.json as lora_unet_",
        count=846,
        rules=kohya("lora_unet", *SD_UNET),
        model="SD 1.5",
        modules=282,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sd2.json as lora_unet_",
        count=846,
        rules=kohya("lora_unet", *SD_UNET),
        model="SD 2.1",
        modules=282,
    ),
    KeyList(
        source=f"{_TOOLKIT}/keymaps/stable_diffusion_sdxl.json as lora_unet_",
        count=2382,
        rules=kohya("lora_unet", *SDXL_UNET),
        model="SDXL",
        modules=794,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora.py (264 modules)",
        count=792,
        rules=(*kohya("lora_unet", SD_ATTENTION), *kohya("lora_te", CLIP)),
        model="SD 1.5",
        modules=264,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora.py (SDXL)",
        count=2958,
        rules=(
            *kohya("lora_unet", *SDXL_UNET[:4]),
            *kohya("lora_te1", CLIP),
            *kohya("lora_te2", CLIP_G),
        ),
        model="SDXL",
        modules=986,
    ),
    KeyList(
        source=f"{_KOHYA_SS}/lora_sd3.py",
        count=1503,
        rules=(
            *kohya("lora_unet", *SD3_ORIGINAL),
            *kohya("lora_te1", CLIP),
            *kohya("lora_te2", CLIP_G),
        ),
        model="SD3",
        modules=501,
        left_out=(SD3_SWAPPED, *SD3_ENCODERS[:2]),
    ),
    KeyList(
        source=f"{_COMFY} (generic names of FLUX)",
        count=1108,
        rules=(
            *dotted("diffusion_model.", *BFL_BLOCKS, *BFL_MODULATION, BFL_OUTSIDE),
            *dotted("text_encoders.clip_l.transformer.", CLIP),
            *dotted("text_encoders.t5xxl.transformer.", T5),
        ),
        modules=554,
        left_out=("final_layer.adaLN_modulation.1", T5),
    ),
    KeyList(
        source=f"{_COMFY} (generic names of SDXL)",
        count=2118,
        rules=(
            *dotted("diffusion_model.", *SDXL_UNET),
            *dotted("text_encoders.clip_l.transformer.", CLIP),
            *dotted("text_encoders.clip_g.transformer.", CLIP_G, "text_projection"),
        ),
        model="SDXL",
        modules=1059,
    ),
    KeyList(
        source=f"{_COMFY} (SimpleTuner's LyCORIS of FLUX)",
        count=1482,
        rules=kohya("lycoris", *FLUX_ALL, parts="{alpha,lokr_w1,lokr_w2}"),
        modules=494,
    ),
)
