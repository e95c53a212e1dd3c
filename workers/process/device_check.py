"""Whether the request or the device was at fault, after something that a sick device does as well.

The device is checked by the known picture (workers/engine/checks). One that does not draw it any more is not trusted
with another job: the child ends, and a fresh one loads the model.
"""

import logging
from collections.abc import Callable, Sequence

from workers.engine.checks.verdict import CURE, DeviceVerdict, Trouble, verdict_on
from workers.engine.images import has_one_value
from workers.engine.protocol import DrawingFailed, Engine, Pixels

log = logging.getLogger(__name__)

ONE_VALUE_WARNING = (
    "All pixels of an image have one single value. The device still draws a test image, so the image is what the model "
    "made of this request."
)


class DeviceFailed(Exception):
    """The device does not draw the known picture any more; the job that met this runs again elsewhere."""

    def __init__(self, trouble: Trouble, met: str) -> None:
        """``met``: the sentence of what the job met."""
        super().__init__(f"The device does not draw its test image any more. A job met this first: {met}")
        self.trouble = trouble

    @property
    def failed_message(self) -> str:
        """The error of a job that devices failed at again and again."""
        return f"The devices that drew this job failed each time. A smaller size may be drawn. {CURE}"


class DeviceCheck:
    """Judges what jobs meet on one engine."""

    def __init__(self, engine: Engine, on_check: Callable[[], None]) -> None:
        """``on_check`` is called before the known picture is drawn."""
        self._engine = engine
        self._on_check = on_check

    def judge_failure(self, failure: DrawingFailed) -> None:
        """Return where the request was at fault; raise DeviceFailed where the device was."""
        self._verdict(failure.trouble, failure.message)

    def warnings_of(self, images: Sequence[Pixels]) -> tuple[str, ...]:
        """Return the warnings of images ``uint8 [height, width, 3]``; raise DeviceFailed where nothing was drawn."""
        if not any(map(has_one_value, images)):
            return ()
        found = self._verdict(Trouble.ONE_VALUE, "All pixels of an image had one single value.")
        return (ONE_VALUE_WARNING,) if found is DeviceVerdict.KEEP_IMAGE else ()

    def _verdict(self, trouble: Trouble, met: str) -> DeviceVerdict:
        log.warning("the device is checked by its known picture: %s", met)
        self._on_check()
        found = verdict_on(trouble, known_is_right=self._engine.draws_known_picture())
        if found is DeviceVerdict.END_PROCESS:
            raise DeviceFailed(trouble, met)
        log.info("the device draws its known picture; the job was at fault (%s)", trouble)
        return found
