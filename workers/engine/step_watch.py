"""The callback between two denoising steps: it reports progress, stops the pipeline and keeps exceptions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from graphs.errors import EngineError
from workers.engine.checks.verdict import Trouble
from workers.engine.protocol import DrawingFailed, GenerationCancelled, OnStep, Pixels, Step


class StepWatch:
    """The callback given to GenAI for one request: it counts the steps of all its calls, and never raises.

    An exception that left it would pass through C++ and end the process, so it is kept until the call has returned.
    """

    def __init__(
        self, on_step: OnStep, calls: int, step_limit: int | None, decode: Callable[[Any], Pixels] | None = None
    ) -> None:
        """``calls`` is how often the pipeline will be called; ``step_limit`` is the maximum of steps in one call.

        ``decode`` turns the latent of a step into the first image of the batch.
        """
        self._on_step = on_step
        self._calls = calls
        self._step_limit = step_limit
        self._decode = decode
        self._number = 0
        # The number of the last step before the current call.
        self._before_call = 0
        self._total = 0
        self._last_latent: Any = None
        self._cancelled = False
        self._error: BaseException | None = None

    def __call__(self, step: int, num_steps: int, latent: Any) -> bool:
        """Report one of the ``num_steps`` steps of this call; returning True stops the pipeline."""
        self._total = num_steps * self._calls
        self._last_latent = latent
        try:
            self._check_count(num_steps)
            self._report(partial(self._decode, latent) if self._decode else None)
        except BaseException as error:  # noqa: BLE001 - kept, and raised again by raise_if_stopped
            self._error = error
        return self._is_stopped

    def end_call(self, steps: int) -> None:
        """Report the last of the ``steps`` of a call that has returned, where the runtime did not.

        When a call ends, GenAI 2026.4.1 drops the steps that still wait for a callback, which may be all of them.
        """
        self._total = self._total or steps * self._calls
        while self._number < self._before_call + steps and not self._is_stopped:
            self._report(None)
        self._before_call = self._number

    def raise_if_stopped(self) -> None:
        """Raise GenerationCancelled, or the exception of ``on_step``, if one of them stopped the pipeline."""
        if self._error is not None:
            raise self._error
        if self._cancelled:
            raise GenerationCancelled

    def check_finite(self) -> None:
        """Raise DrawingFailed where the latents of the last callback of a call have infinite numbers or NaN.

        They are read once a call, after it: a step that computed such numbers leaves none after it that does not.
        """
        latent = self._last_latent
        self._last_latent = None
        if latent is not None and not np.isfinite(latent.data).all():
            raise DrawingFailed(
                Trouble.NOT_FINITE,
                "The model computed numbers that are infinite or not a number (NaN), so there is no image. Another "
                "size, guidance_scale or adapter strength may draw one.",
            )

    @property
    def _is_stopped(self) -> bool:
        return self._cancelled or self._error is not None

    def _check_count(self, num_steps: int) -> None:
        if self._step_limit is not None and num_steps > self._step_limit:
            raise EngineError(
                f"The runtime would draw noise: asked for {self._step_limit} steps, this model's scheduler makes "
                f"{num_steps}. Another num_inference_steps draws an image."
            )

    def _report(self, preview: Callable[[], Pixels] | None) -> None:
        self._number += 1
        self._cancelled = self._on_step(Step(number=self._number, total=self._total, preview=preview))
