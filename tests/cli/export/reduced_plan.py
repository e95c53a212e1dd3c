"""The plans for checkpoints with reduced widths, which the service itself refuses."""

import json
from pathlib import Path
from typing import Any

from tests.cli.export.original_layout import REDUCED

CONFIGS = Path(__file__).parents[3] / "tools" / "exporter" / "configs"


def reduced_layout(kind: str, in_channels: int = 4) -> dict[str, Any]:
    """Return ``single_file`` of a plan for ``make_single_file.py KIND reduced``."""
    kinds = json.loads((CONFIGS / "kinds.json").read_text())
    widths = REDUCED[kind]
    blocks = [multiple * widths.unet for multiple in widths.multiples]
    unet: dict[str, Any] = {
        "block_out_channels": blocks,
        "cross_attention_dim": widths.context,
        "in_channels": in_channels,
        "sample_size": 16,
    }
    if kind != "sd15":
        unet["attention_head_dim"] = [width // 8 for width in blocks]
    if widths.vector:
        unet |= {
            "addition_time_embed_dim": 32,
            "projection_class_embeddings_input_dim": widths.vector,
            "transformer_layers_per_block": [1, *widths.depths[1:]],
        }
    changes = {
        "unet/config.json": unet,
        "vae/config.json": {"block_out_channels": [widths.vae * one for one in (1, 2, 4, 4)], "sample_size": 128},
    }
    encoders = [one for one in (widths.clip, widths.open_clip) if one]
    for name, (width, layers) in zip(("text_encoder", "text_encoder_2"), encoders, strict=False):
        changes[f"{name}/config.json"] = {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": 4,
            "num_hidden_layers": layers - (kind == "sd2"),
            "projection_dim": width,
        }
    if in_channels != 4:
        changes["model_index.json"] = {"_class_name": kinds["kinds"][kind]["inpainting"]}
    parts = {name: {"prefix": part["prefix"]} for name, part in kinds["kinds"][kind]["parts"].items()}
    return {
        "configs": str(CONFIGS / kind),
        "changes": changes,
        "parts": parts,
        "left_out": kinds["left_out"],
    }
