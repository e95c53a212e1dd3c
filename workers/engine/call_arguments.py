"""A request as the arguments of a pipeline's ``generate()``."""

from typing import Any

import numpy as np
import openvino

from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from workers.engine.protocol import InputImages

# Parameters of a request that are passed on only when they are set.
_OPTIONAL = (
    "prompt_2",
    "prompt_3",
    "negative_prompt",
    "negative_prompt_2",
    "negative_prompt_3",
    "max_sequence_length",
)


def call_options(request: ResolvedRequest) -> dict[str, Any]:
    """Return the keyword arguments that say what to draw."""
    options: dict[str, Any] = {
        "width": request.width,
        "height": request.height,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
    }
    for name in _OPTIONAL:
        if (value := getattr(request, name)) is not None:
            options[name] = value
    if any(name.startswith("negative") for name in options):
        # Without negative_prompt, SDXL would ignore negative_prompt_2.
        options.setdefault("negative_prompt", "")
    if request.operation is not Operation.GENERATION and request.strength is not None:
        options["strength"] = request.strength
    return options


def input_tensors(request: ResolvedRequest, inputs: InputImages | None) -> list[openvino.Tensor]:
    """Return the positional arguments after the prompt, ``uint8 [1, h, w, 3]`` each. Raises EngineError."""
    if request.operation is Operation.GENERATION:
        return []
    if inputs is None:
        raise EngineError(f"There is no image for {request.operation}.")
    arrays = [inputs.image]
    if request.operation is Operation.INPAINTING:
        if inputs.mask is None:
            raise EngineError("There is no mask for inpainting.")
        arrays.append(np.repeat(inputs.mask[..., np.newaxis], 3, axis=2))
    return [openvino.Tensor(np.ascontiguousarray(array[np.newaxis])) for array in arrays]
