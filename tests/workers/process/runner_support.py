"""A runner without Celery, and an engine whose steps a test controls."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from graphs.families.family import Operation
from graphs.requests.request import ResolvedRequest
from tests.workers.jobs.jobs_support import GRAPH
from workers.engine.protocol import Engine, Generated, GenerationCancelled, InputImages, OnStep, Step
from workers.jobs.claims import Claims
from workers.process.runner import Runner
from workers.process.shared_memory import Reporter, SharedMemory

_TIME_LIMIT_S = 60


class TinyEngine:
    """Draws black images of 8 x 8 pixels with a white one, calls ``before(number)`` before each step, has previews."""

    def __init__(self, before: Callable[[int], object] = lambda _: None) -> None:
        self.before = before
        self.steps = 0

    def load(self) -> frozenset[Operation]:
        return frozenset(Operation)

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        total = request.num_inference_steps * request.num_images_per_prompt
        for number in range(1, total + 1):
            self.before(number)
            self.steps = number
            if on_step(Step(number, total, lambda: np.zeros((8, 8, 3), np.uint8))):
                raise GenerationCancelled
        image = np.zeros((8, 8, 3), np.uint8)
        image[0, 0] = 255
        images = [image] * request.num_images_per_prompt
        return Generated(images, {"generate": 0.0})

    def draws_known_picture(self) -> bool:
        return True

    def add_adapter(self, alias: str, path: Path) -> None:
        raise AssertionError("no adapter is added here")

    def remove_adapter(self, alias: str) -> None:
        raise AssertionError("no adapter is removed here")

    def unload(self) -> None:
        pass


def make_runner(claims: Claims, engine: Engine, reporter: Reporter | None = None) -> Runner:
    """Return a runner of the graph ``GRAPH`` that records each step, with shared memory unless given a reporter."""
    return Runner(
        claims,
        engine,
        GRAPH,
        reporter or SharedMemory(),
        time_limit_s=_TIME_LIMIT_S,
        progress_every_s=0,
        looks_for_messages_s=0,
    )
