"""eta_seconds against the time that jobs then take, on an engine whose steps take longer for larger pictures."""

import pytest

from config.settings import RedisSettings
from graphs.requests.request import ResolvedRequest
from tests.workers.jobs.jobs_support import claims_of, estimate, look, submit
from tests.workers.process.runner_support import make_runner
from workers.engine.protocol import Generated, InputImages, OnStep
from workers.engine.simulated import SimulatedEngine
from workers.jobs.observe.measured_times import FEWEST

STEP_S, MEGAPIXEL_S = 0.01, 1.0
# Width, height, steps, n.
FIRST = [(128, 128, 6, 1), (256, 192, 3, 1), (384, 384, 2, 1)]
THEN = [(128, 128, 12, 1), (256, 256, 4, 1), (320, 192, 2, 2), (448, 448, 1, 1)]


class SizedEngine(SimulatedEngine):
    """A simulated engine that takes STEP_S for each step, and MEGAPIXEL_S for each megapixel of it."""

    def generate(self, request: ResolvedRequest, inputs: InputImages | None, on_step: OnStep) -> Generated:
        self._step_s = STEP_S + MEGAPIXEL_S * request.width * request.height / 1e6
        return super().generate(request, inputs, on_step)


def test_after_three_jobs_the_estimate_is_within_one_and_a_half_times(redis_settings: RedisSettings) -> None:
    engine = SizedEngine(STEP_S)
    engine.load()
    runner = make_runner(claims_of(redis_settings), engine)
    for number, (width, height, steps, n) in enumerate([*FIRST, *THEN]):
        size = f"{width}x{height}, {steps} steps, n = {n}"
        job = submit(redis_settings, width=width, height=height, num_inference_steps=steps, num_images_per_prompt=n)
        eta_s = estimate(redis_settings, job).eta_s
        runner.run_next()
        done = look(redis_settings, job)
        assert done.started_at is not None and done.completed_at is not None
        if number < FEWEST:
            assert eta_s is None
        else:
            taken_s = done.completed_at - done.started_at
            assert eta_s == pytest.approx(taken_s, rel=0.5, abs=0.05), size
