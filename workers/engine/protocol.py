"""The interface to a runtime: load the model once, then run one generation at a time.

An engine knows nothing of jobs, Redis or HTTP. Images are numpy arrays, ``uint8 [height, width, 3]``, RGB.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from workers.engine.checks.verdict import Trouble

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """A completed denoising step; ``number`` counts from 1 to ``total`` over all images of the request.

    ``preview`` decodes the unfinished image of this step. It may be called only inside the step's callback.
    """

    number: int
    total: int
    preview: "Callable[[], Pixels] | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class InputImages:
    """The input of an edit: the image ``[h, w, 3]`` and, for inpainting, the mask ``[h, w]``; white is repainted."""

    image: Pixels
    mask: Pixels | None = None


@dataclass(frozen=True)
class Generated:
    """The images of one request, the seconds by stage, and the seconds of each denoising step."""

    images: list[Pixels]
    seconds: dict[str, float]
    steps_s: list[float] = field(default_factory=list)


class GenerationCancelled(Exception):
    """The step callback stopped the generation."""


class DrawingFailed(EngineError):
    """The runtime failed, or computed no image. Its request may be at fault, or the device: see ``trouble``."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


OnStep = Callable[[Step], bool]
"""Called after every denoising step. It returns True to stop; what it raises stops the engine and is raised again."""


class Engine(Protocol):
    """A runtime that generates images."""

    def load(self) -> frozenset[Operation]:
        """Load the model and return the operations that it supports. Raises EngineError with a sentence."""
        ...

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        """Generate ``request.num_images_per_prompt`` images.

        Raises GenerationCancelled when ``on_step`` returned True, DrawingFailed when the runtime failed or computed
        infinite numbers, and EngineError for a request that it does not draw.
        """
        ...

    def draws_known_picture(self) -> bool:
        """Draw the known picture again, and return whether it is the one that was drawn when the model was loaded."""
        ...

    def add_adapter(self, alias: str, path: Path) -> None:
        """Make a LoRA adapter selectable by requests, until it is removed or ``load`` is called.

        To be called between two generations. It may compile the model again. Raises EngineError, and changes nothing,
        when the file does not fit, the alias is taken or the graph's adapters cannot be switched.
        """
        ...

    def remove_adapter(self, alias: str) -> None:
        """Remove a selectable adapter, between two generations only. Raises EngineError for an unknown alias."""
        ...

    def unload(self) -> None:
        """Free the model's memory."""
        ...
