"""Draws an exported model with the noise that diffusers was given, and compares the pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

# As in make_source.py, which PyTorch's environment runs.
_PROMPT = "a red circle on a blue background"
_STEPS = 4


class _Given(openvino_genai.Generator):  # type: ignore[misc]  # openvino_genai has no types here
    """Gives noise that is there already."""

    def __init__(self, noise: Any) -> None:
        super().__init__()
        self._noise = noise

    def randn_tensor(self, shape: Any) -> openvino.Tensor:
        """Return the noise; ``shape`` must be its own."""
        assert list(shape) == list(self._noise.shape), (shape, self._noise.shape)
        return openvino.Tensor(self._noise)


def difference(folder: Path, drawn: Path, *, guidance: float) -> float:
    """Return the mean difference (of 255) between a model's picture in f32 and the one in ``drawn``."""
    stored = np.load(drawn)
    height, width, _ = stored["picture"].shape
    pipeline = openvino_genai.Text2ImagePipeline(str(folder), "CPU", INFERENCE_PRECISION_HINT="f32")
    found = pipeline.generate(
        _PROMPT, width=width, height=height, num_inference_steps=_STEPS, guidance_scale=guidance,
        generator=_Given(stored["noise"]),
    )  # fmt: skip
    return float(np.abs(np.asarray(found.data[0], dtype=np.float64) - stored["picture"]).mean())
