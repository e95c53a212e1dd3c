"""The interface to a runtime: load once, then one generation at a time.

An engine knows nothing of jobs, Redis or HTTP. Pictures are numpy arrays, ``uint8 [height, width, 3]``, RGB.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graphs.families.model_facts import Operation
from graphs.requests.request import ResolvedRequest

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """A denoising step that has been done: ``number`` counts from 1 over all images of the request.

    ``preview`` decodes what is drawn so far; callable only while the step's callback runs.
    """

    number: int
    total: int
    preview: "Callable[[], Pixels] | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class InputImages:
    """What an edit starts from: the image ``[h, w, 3]`` and, for inpainting, the mask ``[h, w]``, white = repaint."""

    image: Pixels
    mask: Pixels | None = None


@dataclass(frozen=True)
class Generated:
    """The pictures of one request, where the time went in seconds by stage, and what each denoising step took."""

    images: list[Pixels]
    seconds: dict[str, float]
    steps_s: list[float] = field(default_factory=list)


class GenerationCancelled(Exception):
    """The step callback asked to stop."""


OnStep = Callable[[Step], bool]
"""Called after every denoising step; returns True to stop. May raise: the engine stops and re-raises."""


class Engine(Protocol):
    """A runtime that draws."""

    def load(self) -> frozenset[Operation]:
        """Load the model once and return the operations it can do. Raises EngineError with a sentence."""
        ...

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        """Draw the request's pictures, ``request.num_images_per_prompt`` of them.

        Raises GenerationCancelled when ``on_step`` returned True, EngineError when the runtime failed.
        """
        ...

    def add_adapter(self, alias: str, path: Path) -> None:
        """Make a LoRA adapter selectable by requests from now on, until it is removed or ``load`` is called.

        Between two generations only; may compile the model again. Raises EngineError, everything as before, when
        the file does not fit, the alias is taken or the graph's adapters cannot be switched.
        """
        ...

    def remove_adapter(self, alias: str) -> None:
        """Forget a selectable adapter, between two generations only. Raises EngineError for one that is not there."""
        ...

    def unload(self) -> None:
        """Free the model's memory."""
        ...
