"""The names of tensors in adapter files, in the forms of kohya, PEFT, diffusers (old and new), LyCORIS and XLabs.

The names are those that diffusers' ``lora_conversion_utils.py``, ComfyUI's ``weight_adapter`` and GenAI's
``lora/names_mapping.cpp`` know. A module's name has underscores for dots, as kohya writes it, so that all forms give
the same name. The layer names of original checkpoints are in the families (``Family.original_names``).
"""

import re
from dataclasses import dataclass

# Names of T5 encoders tell which encoder it is, not which number it has in the model.
T5 = "T5 text encoder"

# What stands behind the module's name, and the part that it names; {side} is "down" or "up".
_LOW_RANK = re.compile(
    r"(?P<module>.+?)[._]lora(?:_linear_layer)?(?P<stream>[12]?)[._](?P<side>A|B|down|up|mid)"
    r"(?:\.(?!weight\b|bias\b)[\w-]+(?=\.weight))?(?:\.weight)?",  # PEFT may write the adapter's name there
    re.DOTALL,
)
_NAMED_PART = re.compile(
    r"(?P<module>.+?)(?:[._]lora(?:_linear_layer)?(?P<stream>[12]?))?"
    r"\.(?P<part>alpha|diff|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)",
    re.DOTALL,
)
_SIDES = {"A": "down", "down": "down", "B": "up", "up": "up", "mid": "mid"}
_COMPONENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), component)
    for pattern, component in (
        (r"lora_te2_(clip_g_)?|text_encoder_2\.|(text_encoders\.)?clip_g\.", "text_encoder_2"),
        (r"lora_te1?_(clip_l_)?|text_encoder\.|(text_encoders\.)?clip_[lh]\.", "text_encoder"),
        (r"lora_te3_(t5xxl_)?|text_encoder_3\.|(text_encoders\.)?t5(xxl)?\.", T5),
        (r"lora_unet_|lora_transformer_|lycoris_|unet\.|transformer\.|(model\.)?diffusion_model\.", "denoiser"),
    )
)
# What PEFT writes when an encoder is saved by itself: CLIP with and without its wrapper, and T5.
_BARE = (("text_model.", "text_encoder"), ("encoder.layers.", "text_encoder"), ("encoder.block.", T5))
# Wrappers of the module, which name no layer: PEFT's model and ComfyUI's transformer inside of a text encoder.
_PEFT = "base_model.model."
_ENCODER_WRAPPER = "transformer."
_ENCODER_LEAVES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True)
class AdapterKey:
    """The parts of a tensor's name.

    ``component``: ``denoiser``, ``text_encoder``, ``text_encoder_2`` or ``T5``; ``path``: the module's name as it
    stands in the file; ``module``: the same with underscores for dots; ``part``: ``down``, ``up``, ``mid``, ``alpha``,
    ``diff``, or a part of LoHa (``hada_...``) or LoKr (``lokr_...``).
    """

    component: str
    path: str
    module: str
    part: str


def read_key(key: str) -> AdapterKey | None:
    """Return the parts of a tensor's name, None for a name that is not one of an adapter."""
    match = _LOW_RANK.fullmatch(key) or _NAMED_PART.fullmatch(key)
    if match is None:
        return None
    groups = match.groupdict()
    part = _SIDES.get(groups.get("side", ""), groups.get("part", ""))
    component, path = _component(match["module"].removeprefix(_PEFT))
    path = path.removeprefix(_PEFT).replace(".processor", "")
    stream = f"_{groups['stream']}" if groups["stream"] else ""
    module = _module(component, path) + stream
    return AdapterKey(component, path, module, part)


def diffusers_names(module: str) -> tuple[tuple[str, ...], ...]:
    """Return the names that a module may have in the diffusers model, the likeliest first."""
    if module.endswith("_to_out"):
        return (module,), (f"{module}_0",)
    return ((module,),)


def _component(name: str) -> tuple[str, str]:
    for pattern, component in _COMPONENTS:
        if match := pattern.match(name):
            return component, name[match.end() :]
    return next((component for start, component in _BARE if name.startswith(start)), "denoiser"), name


def _module(component: str, path: str) -> str:
    if component == "denoiser":
        return path.replace(".", "_")
    path = path.removeprefix(_ENCODER_WRAPPER).replace(".", "_").removeprefix("text_model_")
    head, marker, leaf = path.partition("_self_attn_")
    return f"{head}{marker}{_ENCODER_LEAVES.get(leaf, leaf)}"
