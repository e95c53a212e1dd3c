"""The names of tensors in LoRA files, in the forms of kohya, PEFT and diffusers (old and new).

The names are those that diffusers' ``lora_conversion_utils.py`` and GenAI's ``lora/names_mapping.cpp`` know. A
module's name has underscores for dots, as kohya writes it, so that all forms give the same name. The layer names of
original checkpoints are in the families (``Family.original_names``).
"""

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["down", "up", "alpha"]

_PART = re.compile(
    r"(?P<module>.+?)(?:[._]lora[._](?P<part>A|B|down|up)(?:\.default)?\.weight|\.(?P<alpha>alpha))", re.DOTALL
)
_PREFIXES: tuple[tuple[str, str], ...] = (
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


@dataclass(frozen=True)
class AdapterKey:
    """The parts of a tensor's name: ``component`` is ``denoiser``, ``text_encoder`` or ``text_encoder_2``."""

    component: str
    module: str
    part: Part


def read_key(key: str) -> AdapterKey | None:
    """Return the parts of a tensor's name, None for a name that is not one of a LoRA file.

    The ``module`` of the result has underscores for dots.
    """
    match = _PART.fullmatch(key)
    if match is None:
        return None
    part: Part = "alpha" if match["alpha"] else "down" if match["part"] in ("A", "down") else "up"
    component, module = _component(match["module"].removeprefix(_PEFT))
    module = module.removeprefix(_PEFT).replace(".processor", "")
    return AdapterKey(component, module.replace(".", "_"), part)


def diffusers_names(module: str) -> tuple[tuple[str, ...], ...]:
    """Return the names that a module may have in the diffusers model, the likeliest first."""
    if module.endswith("_to_out"):
        return (module,), (f"{module}_0",)
    return ((module,),)


def _component(name: str) -> tuple[str, str]:
    for prefix, component in _PREFIXES:
        if name.startswith(prefix):
            return component, name.removeprefix(prefix)
    return "denoiser", name
