"""Makes the pipeline of PyTorch that is converted, with the weights exactly as its files hold them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from tools.exporter.single_file import load_single_file
from tools.exporter.weights import load_exactly

_DENOISERS = ("unet", "transformer")


def load_pipeline(source: Path, single_file: dict[str, Any] | None) -> DiffusionPipeline:
    """Return the pipeline of a diffusers folder, or of a file with all parts. Raises WeightsError."""
    return load_single_file(source, single_file) if single_file else _load_folder(source)


def _load_folder(source: Path) -> DiffusionPipeline:
    index = json.loads((source / "model_index.json").read_text())
    left_out: dict[str, Any] = {
        name: None for name in ("safety_checker", "feature_extractor", "image_encoder") if name in index
    }
    if "requires_safety_checker" in index:
        left_out["requires_safety_checker"] = False
    pipeline = DiffusionPipeline.from_pretrained(
        source, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True, **_variant(source), **left_out
    )
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            load_exactly(part, source / name)
            part.eval()
    return pipeline


def _variant(source: Path) -> dict[str, str]:
    """Return the variant of the weights, where the denoiser has no file without one."""
    for name in _DENOISERS:
        files = [path.name for path in (source / name).glob("*.safetensors")]
        if files and all(".fp16." in file for file in files):
            return {"variant": "fp16"}
    return {}
