"""A small request that is always the same, and the check that a device draws it equally each time.

It is the smallest that the graph allows: one step, the graph's only size or sides of 64 pixels. What the device draws
for it is compared with what the same device drew before, so no image is stored anywhere.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from graphs.definition.graph import Graph
from graphs.errors import EngineError
from graphs.families.family import Operation
from graphs.families.model_facts import ModelFacts
from graphs.families.schedules import draws_noise, nearest_good_steps
from graphs.repository.repository import Route
from graphs.requests.request import AdapterSelection, GenerationParameters, ResolvedRequest
from graphs.requests.resolve import resolve
from graphs.resolution import Resolution
from workers.engine.protocol import DrawingFailed, InputImages, Pixels

_SIDE = 64  # pixels; every family draws it
TOLERANCE = 1  # of 255: another order of sums may round a number the other way
_BY_PREFERENCE = (Operation.GENERATION, Operation.INPAINTING, Operation.EDIT)


@dataclass(frozen=True)
class KnownRequest:
    """A request with its input images, as an engine takes them."""

    request: ResolvedRequest
    inputs: InputImages | None

    def other(self) -> "KnownRequest":
        """Return a request that differs in prompt and seed only, so that nothing it needs has another shape."""
        changes = {"prompt": "a blue boat on a lake", "rng_seed": self.request.rng_seed + 1}
        return replace(self, request=self.request.model_copy(update=changes))


Draw = Callable[[KnownRequest], list[Pixels]]
"""Draws a request and returns its images, ``uint8 [height, width, 3]`` each; raises EngineError."""


def known_request(
    graph: Graph, facts: ModelFacts, operations: Collection[Operation], adapters: tuple[AdapterSelection, ...] = ()
) -> KnownRequest:
    """Return the known request of a graph.

    ``operations`` are those that its pipelines draw, of which generation is preferred; ``adapters`` are applied.
    """
    operation = next(one for one in _BY_PREFERENCE if one in operations)
    size = _smallest_size(graph, facts)
    parameters = GenerationParameters(
        prompt="a red fox in a field",
        width=size.width,
        height=size.height,
        num_inference_steps=_fewest_steps(graph, facts),
        guidance_scale=None if graph.is_static else graph.guidance_scale,
        strength=None if operation is Operation.GENERATION else 1.0,
        rng_seed=7,
    )
    request = resolve(parameters, operation, Route(graph, graph.name, "base"), facts, size)
    return KnownRequest(request.model_copy(update={"adapters": adapters}), _inputs(operation, size))


def difference(draw: Draw, known: KnownRequest) -> int:
    """Draw a request twice with another one between; return the largest difference of its images, 0 to 255.

    It is 255 where one of both failed; where both did, DrawingFailed is raised.

    The other one is drawn twice. A runtime whose tensors take two addresses in turn would otherwise give both draws of
    the known request the same one, and a computation that reads an old address would be right by chance.
    """
    first = _drawn(draw, known)
    for _ in range(2):
        _drawn(draw, known.other())
    second = _drawn(draw, known)
    if isinstance(first, DrawingFailed) and isinstance(second, DrawingFailed):
        raise second
    if isinstance(first, DrawingFailed) or isinstance(second, DrawingFailed):
        return 255
    return difference_of(first, second)


def difference_of(ones: list[Pixels], others: list[Pixels]) -> int:
    """Return the largest difference of values of as many images, 0 to 255."""
    return int(np.abs(np.stack(ones).astype(np.int16) - np.stack(others)).max())


def check_equal_images(draw: Draw, known: KnownRequest, device: str) -> None:
    """Check that a request with adapters draws the same images again after another one.

    ``device`` is named in the message. Raises EngineError, which says what is wrong and what to do.
    """
    largest = difference(draw, known)
    if largest > TOLERANCE:
        raise EngineError(
            f"With its LoRA adapters, the model {known.request.graph!r} does not draw the same image for the same "
            f"request on {device} (values differ by up to {largest} of 255), so no image of it can be trusted. "
            'Set "INFERENCE_PRECISION_HINT": "bf16" in plugin_config where the processor supports it, or '
            "mode: FUSE for the adapters, or leave them out; and report it to OpenVINO (docs/upstream)."
        )


def _drawn(draw: Draw, known: KnownRequest) -> list[Pixels] | DrawingFailed:
    try:
        return draw(known)
    except DrawingFailed as error:
        return error


def _smallest_size(graph: Graph, facts: ModelFacts) -> Resolution:
    if graph.resolution:
        return min(graph.resolution, key=lambda size: size.width * size.height)
    multiple = facts.size_multiple
    limit = graph.max_resolution
    return Resolution(*(max(min(_SIDE, side) // multiple, 1) * multiple for side in (limit.width, limit.height)))


def _fewest_steps(graph: Graph, facts: ModelFacts) -> int:
    return nearest_good_steps(facts, 1, graph.max_num_inference_steps)[0] if draws_noise(facts, 1) else 1


def _inputs(operation: Operation, size: Resolution) -> InputImages | None:
    if operation is Operation.GENERATION:
        return None
    image = np.zeros((size.height, size.width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, size.width)
    image[..., 1] = np.linspace(0, 255, size.height)[:, np.newaxis]
    if operation is Operation.EDIT:
        return InputImages(image)
    mask = np.zeros((size.height, size.width), np.uint8)
    mask[:, size.width // 2 :] = 255
    return InputImages(image, mask)
