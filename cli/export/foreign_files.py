"""Refuses files that are no checkpoint with all parts of a model, and says what they are where their keys tell it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cli.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]

_UNET = "model.diffusion_model."
_FIRST_LAYER = f"{_UNET}input_blocks.0.0.weight"
_LABELS = f"{_UNET}label_emb.0.0.weight"
_FOLDER = "Give the model's folder in diffusers form."
_FULL = "Take the full checkpoint, or a folder in diffusers form."
_LORA_PARTS = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", ".hada_w1_", ".lokr_w")
_CONVOLUTION = 4  # dimensions
_PLAIN_CHANNELS = (4, 9)
_CHANNELS_OF = {5: "a depth model", 7: "an upscaler", 8: "an image editing model (instruct-pix2pix)"}


def refuse_foreign(file: Path, shapes: Shapes) -> None:
    """Raise UserError for a file that is something else, in one sentence that says what it is and what to do."""
    what = next((sentence for is_one, sentence in _FOREIGN if is_one(shapes)), None)
    if what is None:
        what = _foreign_unet(shapes) if _FIRST_LAYER in shapes else f"no checkpoint that is known here. {_FOLDER}"
    if what is not None:
        raise UserError(f"{file} is {what}")


def _foreign_unet(shapes: Shapes) -> str | None:
    channels = shapes[_FIRST_LAYER][1] if len(shapes[_FIRST_LAYER]) == _CONVOLUTION else 0
    if channels not in _PLAIN_CHANNELS:
        kind = _CHANNELS_OF.get(channels, "no image model")
        return f"{kind}: its UNet takes {channels} channels, and the runtime draws with 4 or 9 (inpainting)."
    if not _any(shapes, "cond_stage_model.", "conditioner.embedders."):
        return f"a UNet without its text encoder. {_FULL}"
    if not _any(shapes, "first_stage_model."):
        return f"a checkpoint without its VAE. {_FULL}"
    return None


def _any(shapes: Shapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)


def _is_lora(shapes: Shapes) -> bool:
    return any(part in name for name in shapes for part in _LORA_PARTS) or _any(shapes, "lora_unet_", "lora_te")


def _is_controlnet(shapes: Shapes) -> bool:
    return _any(shapes, "control_model.", "controlnet_", "input_hint_block.", "zero_convs.")


def _is_transformer(shapes: Shapes) -> bool:
    names = [name.removeprefix(_UNET) for name in shapes]
    return any(name.startswith(("joint_blocks.", "double_blocks.", "single_blocks.")) for name in names)


def _is_bare_unet(shapes: Shapes) -> bool:
    return _any(shapes, "input_blocks.")


def _is_refiner(shapes: Shapes) -> bool:
    return _any(shapes, "conditioner.embedders.0.model.")


def _is_unclip(shapes: Shapes) -> bool:
    return _any(shapes, "embedder.model.visual.") or (_LABELS in shapes and _any(shapes, "cond_stage_model."))


def _is_edm(shapes: Shapes) -> bool:
    return _any(shapes, "edm_")


def _is_vae(shapes: Shapes) -> bool:
    rest = [name for name in shapes if not name.startswith(("first_stage_model.", "encoder.", "decoder.", "loss."))]
    return all(name.startswith(("quant_conv", "post_quant_conv", "model_ema")) for name in rest)


def _is_embedding(shapes: Shapes) -> bool:
    return len(shapes) <= 2 and all(name in ("emb_params", "clip_l", "clip_g", "<token>") for name in shapes)


def _is_diffusers_part(shapes: Shapes) -> bool:
    return _any(shapes, "down_blocks.", "transformer_blocks.", "text_model.")


def _is_text_encoder(shapes: Shapes) -> bool:
    return not _any(shapes, _UNET) and _any(shapes, "cond_stage_model.", "conditioner.embedders.", "encoder.block.")


_FOREIGN: tuple[tuple[Callable[[Shapes], bool], str], ...] = (
    (_is_lora, "a LoRA adapter, not a model: serve it with --source_loras, beside the model it was trained for."),
    (_is_controlnet, "a ControlNet, which the runtime does not have."),
    (_is_transformer, f"of SD3 or FLUX, or has only their transformer. {_FOLDER}"),
    (_is_bare_unet, f"a UNet alone. {_FULL}"),
    (_is_refiner, "the SDXL refiner, which the runtime does not have; export the base model."),
    (_is_unclip, "an unCLIP model, which draws from pictures and not from text; the runtime does not have it."),
    (_is_edm, "a model of the EDM formulation (Playground 2.5, CosXL), whose schedulers the runtime does not have."),
    (_is_embedding, "a textual inversion embedding, not a model."),
    (_is_vae, f"a VAE alone. {_FULL}"),
    (_is_diffusers_part, f"one part of a model in diffusers form. {_FOLDER}"),
    (_is_text_encoder, f"a text encoder alone. {_FULL}"),
)
