"""Finds what a checkpoint's denoiser predicts: the noise (``epsilon``), or a mix of noise and image (``v_prediction``).

No layer tells this, and a wrong guess draws noise or fog, so what was taken is always said, with its reason.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.errors import UserError
from graphs.adapters.safetensors_file import SafetensorsHeader
from graphs.adapters.tensors import read_numbers

PredictionType = Literal["epsilon", "v_prediction"]

# Keys without a weight, which training tools write into files of models that predict v.
_V_MARK = "v_pred"
_ZERO_SNR_MARK = "ztsnr"
# https://github.com/Stability-AI/ModelSpec
_METADATA = "modelspec.prediction_type"
_WRITTEN: dict[str, PredictionType] = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
# ComfyUI (comfy/supported_models.py, SD20) tells Stable Diffusion 2 for 768 pixels from its base by this bias.
_TELLING_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SPREAD_OF_V = 0.09


@dataclass(frozen=True)
class Prediction:
    """What a denoiser predicts, and why this was taken; ``has_zero_terminal_snr``: its last step is noise alone."""

    type: PredictionType
    reason: str
    has_zero_terminal_snr: bool = False


def prediction_of(file: Path, header: SafetensorsHeader, word: str | None, *, may_measure: bool) -> Prediction:
    """Return what a checkpoint's denoiser predicts.

    ``word`` is what the person says, which counts most; then what the file says; with ``may_measure`` (Stable
    Diffusion 2) the spread of a bias; else epsilon. Raises UserError where the file says something unknown.
    """
    if word is not None:
        return _prediction(_WRITTEN[word], "--prediction_type", header)
    if _V_MARK in header.tensors:
        return _prediction("v_prediction", f"the file has the key {_V_MARK}", header)
    if (written := header.metadata.get(_METADATA)) is not None:
        if written not in _WRITTEN:
            raise UserError(f"{file}: {_METADATA} is {written!r}; say --prediction_type epsilon or v_prediction.")
        return _prediction(_WRITTEN[written], f"the file's {_METADATA}", header)
    if may_measure:
        spread = _spread(file, header)
        kind: PredictionType = "v_prediction" if spread > _SPREAD_OF_V else "epsilon"
        return _prediction(kind, f"the last attention's bias spreads by {spread:.3f}", header)
    return _prediction("epsilon", "the file says nothing else", header)


def _prediction(kind: PredictionType, reason: str, header: SafetensorsHeader) -> Prediction:
    return Prediction(kind, reason, kind == "v_prediction" and _ZERO_SNR_MARK in header.tensors)


def _spread(file: Path, header: SafetensorsHeader) -> float:
    """Return the standard deviation of the bias; 0 where the file does not have it."""
    if (tensor := header.tensors.get(_TELLING_BIAS)) is None:
        return 0.0
    with file.open("rb") as opened:
        spread = float(read_numbers(opened, tensor).std())
    return spread if math.isfinite(spread) else 0.0
