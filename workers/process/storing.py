"""The end of a job: its drawn images are encoded and stored, where more jobs wait, by a thread behind the next drawing.

No more than the images of one job are in hand beside those that are being drawn. A job becomes complete in the step in
which its images are stored, so a process that dies loses no image of a complete job; the two that it held run again.
"""

import contextvars
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from workers.engine.images import encode
from workers.engine.mask_composite import composited
from workers.engine.protocol import Generated, InputImages
from workers.jobs.claims import Claim, Claims
from workers.jobs.observe.metrics import stages_measured
from workers.process.progress import ClaimLost

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """A claimed job with its images, before they are encoded.

    ``prepare_s``: the seconds before the drawing; ``adapter_switches``: how often the adapters changed for it;
    ``last_step``: the number of the last step, and the number of all.
    """

    claim: Claim
    inputs: InputImages | None
    generated: Generated
    warnings: tuple[str, ...]
    prepare_s: float
    adapter_switches: int
    last_step: tuple[int, int] | None


def store(claims: Claims, drawn: Drawn) -> Mapping[str, float]:
    """Encode the images and end the job with them; return the seconds that each stage of the job took.

    Raises ClaimLost, ServiceUnavailable, and StoreFull where Redis has no room for as long as images are kept.
    """
    started = time.perf_counter()
    claim = drawn.claim
    generated = drawn.generated
    request = claim.job.request
    images = generated.images
    if request.mask_composite and drawn.inputs is not None:
        images = [composited(image, drawn.inputs, request.mask_feather_px) for image in images]
    encoded = [encode(image, request.output_format, request.output_compression) for image in images]
    seconds = {**generated.seconds, "encode": time.perf_counter() - started}
    of_stages = {"prepare": drawn.prepare_s, **seconds}
    measured = stages_measured(of_stages, generated.steps_s)
    measured["adapter_switches"] = drawn.adapter_switches
    if drawn.warnings:
        measured["one_value_images"] = 1
    started = time.perf_counter()
    if not claims.complete(claim, encoded, seconds, measured, drawn.warnings, generated.steps_s, drawn.last_step):
        raise ClaimLost
    log.info("%s completed in %.2f s", claim.job.id, seconds.get("generate", 0.0))
    return {**of_stages, "store": time.perf_counter() - started}


class Storing:
    """The thread that stores the images of one job while the next one is drawn."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storing")
        self._current: Future[None] | None = None

    def begin(self, act: Callable[[], None]) -> None:
        """Let the thread act, which does nothing else (``wait``); its log lines have the fields of this context."""
        self._current = self._thread.submit(contextvars.copy_context().run, act)

    def wait(self) -> None:
        """Wait for the end of what was begun. Raises what that raised."""
        current = self._current
        self._current = None
        if current is not None:
            current.result()
