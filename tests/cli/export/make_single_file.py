"""Makes a checkpoint in the original layout with random weights.

``PYTHON -m tests.cli.export.make_single_file KIND WIDTHS OUTPUT``, with PyTorch.

``KIND`` is sd15, sd2 or sdxl, ``WIDTHS`` is full, reduced or inpainting (reduced, with nine channels). Weights are in
half precision, but for the biases (f32) and those of the VAE (bf16); with the extra keys that such files have.
It writes tensor by tensor, so that its memory does not grow with the file.
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.cli.export.original_layout import FULL, REDUCED, layout

_TYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.int64: "I64"}
_EXTRA = {"betas": [1000], "alphas_cumprod": [1000], "model_ema.decay": [], "model_ema.num_updates": []}


def main() -> None:
    kind = sys.argv[1]
    widths = FULL[kind] if sys.argv[2] == "full" else REDUCED[kind]
    if sys.argv[2] == "inpainting":
        widths = replace(widths, in_channels=9)
    shapes = layout(widths) | _EXTRA
    entries: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start = end
        end += math.prod(shape) * _type(name).itemsize
        entries[name] = {"dtype": _TYPES[_type(name)], "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    torch.manual_seed(0)
    with Path(sys.argv[3]).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shapes.items():
            file.write(_values(name, shape).contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def _type(name: str) -> torch.dtype:
    if name.endswith(".bias"):
        return torch.float32
    return torch.bfloat16 if name.startswith("first_stage_model.") else torch.float16


def _values(name: str, shape: list[int]) -> torch.Tensor:
    """Return random weights that keep the size of what they are applied to."""
    if len(shape) <= 1:
        values = torch.randn(shape) * 0.02 + (1.0 if name.endswith(".weight") else 0.0)
    else:
        values = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
    return values.to(_type(name))


if __name__ == "__main__":
    main()
