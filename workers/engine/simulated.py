"""An engine without a model: pictures that depend on the whole request, drawn at a chosen pace.

For tests and for trying the service without a model. The same request gives the same pixels everywhere.
"""

import hashlib
import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphs.families.model_facts import Operation
from graphs.requests.request import ResolvedRequest
from workers.engine.protocol import Generated, GenerationCancelled, InputImages, OnStep, Pixels, Step

_NOT_IN_THE_PICTURE = {"graph", "model", "num_images_per_prompt", "output_format", "output_compression"}
_INPUT_WEIGHT = 0.5


class SimulatedEngine:
    """Draws gradients: a pure function of prompts, seed, size, steps, operation, inputs and adapters."""

    def __init__(self, step_s: float, fatal_words: str | None = None) -> None:
        """``step_s`` is how long each denoising step lasts, in seconds.

        A prompt with ``fatal_words`` in it ends the process after its first step, as a crash in native code would.
        """
        self._step_s, self._fatal_words = step_s, fatal_words
        self._never = threading.Event()

    def load(self) -> frozenset[Operation]:
        """Return every operation; there is nothing to load."""
        return frozenset(Operation)

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        """Draw the request's pictures, waiting ``step_s`` at every step.

        Raises GenerationCancelled when ``on_step`` returned True; what ``on_step`` raises passes through.
        """
        total = request.num_inference_steps * request.num_images_per_prompt
        steps_s: list[float] = []
        for number in range(1, total + 1):
            began = time.perf_counter()
            if self._step_s > 0:
                self._never.wait(self._step_s)
            index, step = divmod(number - 1, request.num_inference_steps)
            preview = partial(_unfinished, request, inputs, index, (step + 1) / request.num_inference_steps)
            if on_step(Step(number=number, total=total, preview=preview)):
                raise GenerationCancelled
            steps_s.append(time.perf_counter() - began)
            if self._fatal_words is not None and self._fatal_words in request.prompt:
                os.kill(os.getpid(), signal.SIGKILL)
        images = [_picture(request, inputs, index) for index in range(request.num_images_per_prompt)]
        denoise = total * self._step_s
        seconds = {"text_encode": 0.0, "denoise": denoise, "vae_encode": 0.0, "vae_decode": 0.0}
        return Generated(images=images, seconds={**seconds, "generate": denoise}, steps_s=steps_s)

    def add_adapter(self, alias: str, path: Path) -> None:
        """Do nothing; requests may name any adapter."""

    def remove_adapter(self, alias: str) -> None:
        """Do nothing; requests may name any adapter."""

    def unload(self) -> None:
        """Do nothing; there is nothing to free."""


def _unfinished(request: ResolvedRequest, inputs: InputImages | None, index: int, done: float) -> Pixels:
    """The picture seen through grey fog that thins out as the steps are done."""
    fog = np.float64(128)
    return np.asarray((fog + done * (_picture(request, inputs, index) - fog)).round(), dtype=np.uint8)


def _picture(request: ResolvedRequest, inputs: InputImages | None, index: int) -> Pixels:
    generator = np.random.Generator(np.random.PCG64(_entropy(request, inputs, index)))
    across, down = np.linspace(0, 1, request.width), np.linspace(0, 1, request.height)[:, np.newaxis]
    first, second = generator.uniform(0, 255, (2, 1, 1, 3))
    waves, phase = generator.integers(1, 4, 2), generator.uniform(0, 2 * np.pi)
    blend = (across + down) / 2 + 0.25 * np.sin(2 * np.pi * (waves[0] * across + waves[1] * down) + phase)
    colours = first + (second - first) * np.clip(blend, 0, 1)[..., np.newaxis]
    if inputs is not None:
        colours = _over(colours, inputs)
    return np.asarray(colours.round(), dtype=np.uint8)


def _over(colours: npt.NDArray[np.float64], inputs: InputImages) -> npt.NDArray[np.float64]:
    """Let the input image shine through; where there is a mask, its black parts stay as they are."""
    height, width = colours.shape[:2]
    below = _resized(inputs.image, width, height).astype(np.float64)
    mixed = colours + _INPUT_WEIGHT * (below - colours)
    if inputs.mask is None:
        return mixed
    repaint = _resized(inputs.mask, width, height)[..., np.newaxis] / 255
    return below + repaint * (mixed - below)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Nearest neighbour: ``[h, w, ...]`` to ``[height, width, ...]``."""
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    resized: Pixels = pixels[rows][:, columns]
    return resized


def _entropy(request: ResolvedRequest, inputs: InputImages | None, index: int) -> int:
    fields = request.model_dump(mode="json", exclude=_NOT_IN_THE_PICTURE)
    digest = hashlib.sha256(json.dumps([fields, index], sort_keys=True).encode())
    for pixels in (inputs.image, inputs.mask) if inputs is not None else ():
        if pixels is not None:
            digest.update(json.dumps(pixels.shape).encode() + pixels.tobytes())
    return int.from_bytes(digest.digest(), "big")
