"""How much memory it takes to draw with a model on a CPU, estimated from its files before it is loaded.

A child maps the files of the weights and holds a second copy of them in the type that the CPU computes in. Beside that,
the decoder of the VAE decides: it holds several tensors of the image's size at once. The constants were measured with a
model of Stable Diffusion 1.5's size and with the bundled one (docs/measurements.md); `python -m benchmarks.memory`
compares the estimate with a measurement.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from graphs.resolution import Resolution

# Python, OpenVINO and this service, without a model.
_PROCESS_BYTES = 250 * 2**20
# How many tensors of the decoder's last two widths (block_out_channels) are held for each pixel.
_DECODER_TENSORS = 4.4
# An image of 8 bits and its encoded form.
_IMAGE_PIXEL_BYTES = 6
# Of Stable Diffusion, SDXL, SD3 and FLUX.
_USUAL_CHANNELS = (128, 256)
_CONSTANT = re.compile(rb'<data element_type="(\w+)"[^>]* size="(\d+)"')
_FLOAT_BYTES = {b"f64": 8, b"f32": 4, b"f16": 2, b"bf16": 2}


@dataclass(frozen=True)
class MemoryNeed:
    """The memory that drawing takes: ``fixed_bytes``, and for each pixel ``pixel_bytes``."""

    fixed_bytes: int
    pixel_bytes: int

    def bytes_for(self, width: int, height: int, images: int = 1) -> int:
        """Return the estimate in bytes for a request of so many images, which are drawn one after the other."""
        return self.fixed_bytes + width * height * (self.pixel_bytes + images * _IMAGE_PIXEL_BYTES)

    def largest_within(self, limit_bytes: int, shape: Resolution, multiple: int, images: int = 1) -> Resolution | None:
        """Return the largest size of the same shape that needs at most ``limit_bytes``; None where none does.

        Both sides are multiples of ``multiple``, in pixels.
        """
        pixels = (limit_bytes - self.fixed_bytes) / (self.pixel_bytes + images * _IMAGE_PIXEL_BYTES)
        scale = math.sqrt(max(0.0, pixels) / (shape.width * shape.height))
        width, height = (int(side * scale) // multiple * multiple for side in (shape.width, shape.height))
        return Resolution(width, height) if width and height else None


def read_memory_need(models_path: Path, compute_bytes: int) -> MemoryNeed:
    """Estimate from the files of a models directory.

    ``compute_bytes`` is the size of a number in the type that the CPU computes in: 4 for f32, 2 for bf16. Weights that
    are compressed to whole numbers (INT8, INT4) are taken to stay so. Raises OSError where a file cannot be read.
    """
    mapped_bytes = 0
    held_bytes = 0
    for path in sorted(models_path.glob("*/openvino_model.xml")):
        for kind, size in _CONSTANT.findall(path.read_bytes()):
            mapped_bytes += int(size)
            held_bytes += int(size) * compute_bytes // _FLOAT_BYTES[kind] if kind in _FLOAT_BYTES else int(size)
    pixel_bytes = int(_DECODER_TENSORS * sum(_decoder_channels(models_path)) * compute_bytes)
    return MemoryNeed(_PROCESS_BYTES + mapped_bytes + held_bytes, pixel_bytes)


def _decoder_channels(models_path: Path) -> tuple[int, ...]:
    try:
        found = json.loads((models_path / "vae_decoder" / "config.json").read_text()).get("block_out_channels")
    except (OSError, ValueError, AttributeError):
        return _USUAL_CHANNELS
    usable = isinstance(found, list) and all(isinstance(count, int) and 0 < count < 2**16 for count in found)
    return tuple(found[:2]) if usable and found else _USUAL_CHANNELS
