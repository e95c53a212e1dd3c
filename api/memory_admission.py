"""Refuses requests that no ready worker has the memory to draw, where the graph states no largest size."""

from collections.abc import Sequence

from graphs.definition.graph import Graph
from graphs.errors import InvalidRequest
from graphs.families.model_facts import ModelFacts
from graphs.repository.model_memory import MemoryNeed
from graphs.requests.request import ResolvedRequest
from graphs.resolution import Resolution
from workers.jobs.observe.presence import WorkerPresence

_GIB = 2**30


def check_memory(request: ResolvedRequest, graph: Graph, facts: ModelFacts, ready: Sequence[WorkerPresence]) -> None:
    """Raise InvalidRequest where each of the ``ready`` workers is estimated to need more memory than it may use.

    A worker that does not know what it needs may draw everything, and so may one whose model is past its bound at
    every size: the operator has read that in its log.
    """
    if graph.states_its_sizes or not ready:
        return
    size = Resolution(request.width, request.height)
    images = request.num_images_per_prompt
    most = Resolution(0, 0)
    for worker in ready:
        need = MemoryNeed(worker.fixed_bytes, worker.pixel_bytes)
        fits = need.bytes_for(size.width, size.height, images) <= worker.memory_limit_bytes
        largest = need.largest_within(worker.memory_limit_bytes, size, facts.size_multiple, images)
        if not worker.pixel_bytes or fits or largest is None:
            return
        most = max(most, largest, key=lambda found: found.width * found.height)
    needed = min(MemoryNeed(w.fixed_bytes, w.pixel_bytes).bytes_for(size.width, size.height, images) for w in ready)
    limit = max(worker.memory_limit_bytes for worker in ready)
    raise InvalidRequest(
        f"An image of {size} takes about {needed / _GIB:.1f} GiB of memory with this model, and its workers may use "
        f"{limit / _GIB:.1f} GiB; {most} would fit.",
        param="size",
        code="invalid_size",
    )
