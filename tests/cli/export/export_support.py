"""Diffusers folders for the tests of export: the files that are looked at before any conversion."""

import json
import struct
from pathlib import Path

UNET = {"conv_in.weight": [8, 4, 3, 3]}
SCHEDULER = {"_class_name": "DDIMScheduler", "clip_sample": False, "beta_schedule": "scaled_linear"}


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """Write tensors of zeros in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {}
    end = 0
    for name, shape in shapes.items():
        start = end
        size = 2
        for side in shape:
            size *= side
        end = start + size
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))


def write_source(folder: Path, class_name: str = "StableDiffusionPipeline", scheduler: object = None) -> Path:
    """Write a folder in diffusers form with a UNet and a VAE."""
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        write_safetensors(folder / part / f"{name}.safetensors", UNET)
        (folder / part / "config.json").write_text(json.dumps({"sample_size": 16, "block_out_channels": [8, 8, 8, 8]}))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler or SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name}))
    return folder
