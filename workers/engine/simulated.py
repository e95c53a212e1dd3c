"""An engine without a model, for tests and for trying the service: it draws gradients, at a chosen speed.

The pixels depend on the whole request, and the same request gives the same pixels on every machine.
"""

import hashlib
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from workers.engine.checks.known_picture import KnownPicture
from workers.engine.checks.known_request import KnownRequest
from workers.engine.protocol import Generated, GenerationCancelled, InputImages, OnStep, Pixels, Step
from workers.engine.simulated_faults import SimulatedDevice

_WITHOUT_EFFECT = {
    *("graph", "model", "num_images_per_prompt", "output_format", "output_compression", "seeds", "warnings")
}
_INPUT_WEIGHT = 0.5
_KNOWN = ResolvedRequest(
    operation=Operation.GENERATION,
    graph="simulated",
    model="simulated",
    prompt="a red fox in a field",
    width=64,
    height=64,
    num_images_per_prompt=1,
    num_inference_steps=1,
    guidance_scale=1.0,
    strength=None,
    rng_seed=7,
)


class SimulatedEngine:
    """Draws gradients: a pure function of prompts, seed, size, steps, operation, inputs and adapters."""

    def __init__(self, step_s: float, fatal_words: str | None = None, device: SimulatedDevice | None = None) -> None:
        """``step_s`` is the length of each denoising step in seconds; ``device`` of None never fails.

        A prompt that contains ``fatal_words`` kills the process after its first step, like a crash in native code.
        """
        self._step_s = step_s
        self._fatal_words = fatal_words
        self._device = device or SimulatedDevice()
        self._known_picture: KnownPicture | None = None

    def load(self) -> frozenset[Operation]:
        """Draw the known picture and return every operation; there is nothing to load."""
        self._known_picture = KnownPicture(self._draw_known, KnownRequest(_KNOWN, None), "a simulated device")
        return frozenset(Operation)

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        """Draw the request's images; each step takes ``step_s``.

        Raises GenerationCancelled when ``on_step`` returned True, what ``on_step`` raises, and DrawingFailed where the
        device or the request is at fault.
        """
        total = request.num_inference_steps * request.num_images_per_prompt
        steps_s: list[float] = []
        for number in range(1, total + 1):
            began = time.perf_counter()
            # A sleep of 0 s still gives the processor away, for about 60 microseconds.
            if self._step_s > 0:
                time.sleep(self._step_s)  # noqa: TID251 - this is the simulated work; it waits for nothing
            index, step = divmod(number - 1, request.num_inference_steps)
            preview = partial(_unfinished, request, inputs, index, (step + 1) / request.num_inference_steps)
            if on_step(Step(number=number, total=total, preview=preview)):
                raise GenerationCancelled
            steps_s.append(time.perf_counter() - began)
            if number == 1:
                self._device.begin(request.prompt)
            if self._fatal_words is not None and self._fatal_words in request.prompt:
                os.kill(os.getpid(), signal.SIGKILL)
        images = self._images(request, inputs)
        denoise = total * self._step_s
        seconds = {"text_encode": 0.0, "denoise": denoise, "vae_encode": 0.0, "vae_decode": 0.0}
        return Generated(images=images, seconds={**seconds, "generate": denoise}, steps_s=steps_s)

    def draws_known_picture(self) -> bool:
        """Draw the known picture again, and return whether it is the first one."""
        return self._known_picture is not None and self._known_picture.is_right()

    def add_adapter(self, alias: str, path: Path) -> None:
        """Do nothing; requests may name any adapter."""

    def remove_adapter(self, alias: str) -> None:
        """Do nothing; requests may name any adapter."""

    def unload(self) -> None:
        """Do nothing; there is nothing to free."""

    def _draw_known(self, known: KnownRequest) -> list[Pixels]:
        return self._images(known.request, known.inputs)

    def _images(self, request: ResolvedRequest, inputs: InputImages | None) -> list[Pixels]:
        return [
            self._device.drawn(request.prompt, _image(request, inputs, index), request.rng_seed)
            for index in range(request.num_images_per_prompt)
        ]


def _unfinished(request: ResolvedRequest, inputs: InputImages | None, index: int, done: float) -> Pixels:
    """Return the image blended with grey; ``done``, from 0 to 1, is the share of the image."""
    grey = np.float64(128)
    return np.asarray((grey + done * (_image(request, inputs, index) - grey)).round(), dtype=np.uint8)


def _image(request: ResolvedRequest, inputs: InputImages | None, index: int) -> Pixels:
    generator = np.random.Generator(np.random.PCG64(_entropy(request, inputs, index)))
    across = np.linspace(0, 1, request.width)
    down = np.linspace(0, 1, request.height)[:, np.newaxis]
    first, second = generator.uniform(0, 255, (2, 1, 1, 3))
    waves = generator.integers(1, 4, 2)
    phase = generator.uniform(0, 2 * np.pi)
    blend = (across + down) / 2 + 0.25 * np.sin(2 * np.pi * (waves[0] * across + waves[1] * down) + phase)
    colours = first + (second - first) * np.clip(blend, 0, 1)[..., np.newaxis]
    if inputs is not None:
        colours = _over(colours, inputs)
    return np.asarray(colours.round(), dtype=np.uint8)


def _over(colours: npt.NDArray[np.float64], inputs: InputImages) -> npt.NDArray[np.float64]:
    """Blend the colours with the input image; black parts of a mask keep the input image."""
    height, width = colours.shape[:2]
    below = _resized(inputs.image, width, height).astype(np.float64)
    mixed = colours + _INPUT_WEIGHT * (below - colours)
    if inputs.mask is None:
        return mixed
    repaint = _resized(inputs.mask, width, height)[..., np.newaxis] / 255
    return below + repaint * (mixed - below)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize ``[h, w, ...]`` to ``[height, width, ...]`` by nearest neighbour."""
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    resized: Pixels = pixels[rows][:, columns]
    return resized


def _entropy(request: ResolvedRequest, inputs: InputImages | None, index: int) -> int:
    if (seed := request.seed_of(index)) is not None:
        request = request.model_copy(update={"rng_seed": seed})
        index = 0
    fields = request.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    digest = hashlib.sha256(json.dumps([fields, index], sort_keys=True).encode())
    for pixels in (inputs.image, inputs.mask) if inputs is not None else ():
        if pixels is not None:
            digest.update(json.dumps(pixels.shape).encode() + pixels.tobytes())
    return int.from_bytes(digest.digest(), "big")
