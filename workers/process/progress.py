"""The steps of one job: what is recorded of them, and what ends the job before its last one."""

import logging
import time
from collections.abc import Callable

from graphs.errors import ServiceUnavailable
from workers.engine.images import encode
from workers.engine.protocol import Step
from workers.jobs.claims import Claim, Claims, Preview
from workers.jobs.status import ClaimState
from workers.process.shared_memory import ChildCommand

log = logging.getLogger(__name__)

# A step is recorded at most this often: clients see no difference, and quick steps cost nothing.
PROGRESS_EVERY_S = 0.1


class ClaimLost(Exception):
    """Another worker has the job now, or the job was erased: its images are not stored."""


class TimeLimitReached(Exception):
    """The job has run for as long as its time limit allows."""


class HandBackRequested(Exception):
    """This worker stops before the job can end; another worker can do it sooner."""


class Progress:
    """Records the steps of a claimed job."""

    def __init__(
        self,
        claims: Claims,
        claim: Claim,
        command: Callable[[], ChildCommand],
        *,
        time_limit_s: float,
        every_s: float = PROGRESS_EVERY_S,
    ) -> None:
        """``command`` returns the main process's current command.

        After ``time_limit_s`` the job ends at its next step. Steps that follow one another within ``every_s`` are not
        recorded one by one.
        """
        self._claims = claims
        self._claim = claim
        self._command = command
        self._every_s = every_s
        self._recorded_at = time.monotonic()
        self._ends_at = self._recorded_at + time_limit_s
        # The number of the last step, and the number of all.
        self.last_step: tuple[int, int] | None = None

    def on_step(self, step: Step) -> bool:
        """Record a step and return whether the engine must stop, because the job was cancelled.

        Raises HandBackRequested, ClaimLost or TimeLimitReached, which stop the engine as well.
        """
        self.check_command()
        log.debug("step %d of %d", step.number, step.total)
        self.last_step = (step.number, step.total)
        state = self._recorded(step)
        if state is ClaimState.LOST:
            raise ClaimLost
        if state is not ClaimState.CANCEL and time.monotonic() >= self._ends_at:
            raise TimeLimitReached
        return state is ClaimState.CANCEL

    def check_command(self) -> None:
        """Raise HandBackRequested where the main process wants the job back."""
        if self._command() is ChildCommand.HAND_BACK:
            raise HandBackRequested

    def _recorded(self, step: Step) -> ClaimState:
        preview = self._preview(step)
        now = time.monotonic()
        if preview is None and now - self._recorded_at < self._every_s:
            return ClaimState.GO_ON
        self._recorded_at = now
        try:
            return self._claims.progress(self._claim, step.number, step.total, preview)
        except ServiceUnavailable as error:
            # The job continues: its claim is checked again when its images are stored.
            log.warning("%s: step %d not recorded: %s", self._claim.job.id, step.number, error)
            return ClaimState.GO_ON

    def _preview(self, step: Step) -> Preview | None:
        """Return a partial image at steps evenly spaced over each image's steps, never at its last; None at others."""
        request = self._claim.job.request
        wanted = self._claim.job.options.previews
        if not wanted or step.preview is None:
            return None
        steps = max(1, step.total // request.num_images_per_prompt)
        image_index, step_of_image = divmod(step.number - 1, steps)
        due = sorted({round(steps * (number + 1) / (wanted + 1)) for number in range(wanted)} - {0, steps})
        if step_of_image + 1 not in due:
            return None
        encoded = encode(step.preview(), request.output_format, request.output_compression)
        return Preview(image_index, due.index(step_of_image + 1), encoded)
