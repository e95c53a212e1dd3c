"""The kinds of files and tensors that cannot be applied, recognised by a tensor's name, and what to do about each."""

import re

_MERGE = "merge it into the model with the program that trained it, and serve that model"
_PLAIN = "train or extract it as a plain LoRA"
_KINDS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), kind, advice)
    for pattern, kind, advice in (
        (r"dora_scale$|lora_magnitude_vector", "DoRA, a LoRA with trained magnitudes", _MERGE),
        (r"\boft_|[._]boft|oft_(blocks|diag|R)\b", "OFT, which multiplies the weights", _MERGE),
        (r"\.[ab][12]\.weight$", "GLoRA, which multiplies the weights", _MERGE),
        (r"\.on_input$", "IA3, which multiplies the weights", _MERGE),
        (r"vera_lambda", "VeRA, whose matrices are not in the file", _PLAIN),
        (r"lora_(B|up)(\.\w+)?\.bias$|\.lora_bias$", "LoRA with trained biases", _MERGE),
        (r"\.diff_b$|\.set_weight$", "fine-tuned weights stored as differences, with biases", _MERGE),
        (r"\.[wb]_norm$|norm\w*\.(scale|diff)$", "fine-tuning of normalisation layers", _MERGE),
        (
            r"^bundle_emb\.|^emb_params$|^string_to_",
            "textual inversion (an embedding)",
            "use a LoRA of the same subject",
        ),
        (r"^clip_[lg]$", "textual inversion (an embedding)", "use a LoRA of the same subject"),
        (r"lora_controlnet|^control_model\.|^controlnet_|^input_hint_block", "ControlNet", "use an ordinary LoRA"),
        (r"^ip_adapter\.|^image_proj\.", "IP-Adapter", "use an ordinary LoRA"),
        (r"^adapter\.(body|conv_in)", "T2I-Adapter", "use an ordinary LoRA"),
        (r"motion_modules?[._]", "motion adapter for video", "use an ordinary LoRA"),
        (
            r"^(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\."
            r"|^(double_blocks|joint_blocks|down_blocks|transformer_blocks|input_blocks)\b.*\.(weight|bias)$",
            "whole model, not an adapter",
            "serve it as a model (--model_path)",
        ),
    )
)


def refused_kind(key: str) -> str | None:
    """Return what a tensor that is no part of a LoRA, LoHa or LoKr shows its file to be, and what to do.

    It is a clause, None for a name that belongs to no known kind.
    """
    for pattern, kind, advice in _KINDS:
        if pattern.search(key):
            return f"its kind, {kind}, cannot be applied here (the tensor {key!r} shows it); {advice}"
    return None
