"""The known picture: what a device draws for the known request, kept from when the model was loaded.

It is drawn without a selected adapter, so that an adapter at fault does not spoil it. The first drawing of a model also
prepares what the runtime prepares only then, so that the first client does not wait for that.
"""

from graphs.errors import EngineError
from workers.engine.checks.known_request import TOLERANCE, Draw, KnownRequest, difference_of
from workers.engine.checks.verdict import CURE
from workers.engine.images import has_one_value


class KnownPicture:
    """The known request of one set of pipelines, and the images that they drew for it."""

    def __init__(self, draw: Draw, known: KnownRequest, device: str) -> None:
        """Draw it for the first time; ``device`` is named in messages.

        Raises EngineError where that fails or nothing is drawn: infinite numbers, or pixels of one single value.
        """
        self._draw = draw
        self._known = known
        try:
            self._images = draw(known)
        except EngineError as error:
            raise EngineError(f"{_cannot_draw(known, device)} {error.message} {CURE}") from error
        if any(map(has_one_value, self._images)):
            raise EngineError(f"{_cannot_draw(known, device)} All of its pixels have one single value. {CURE}")

    def is_right(self) -> bool:
        """Draw it again, and return whether the images are those of the first time."""
        try:
            images = self._draw(self._known)
        except EngineError:
            return False
        return difference_of(self._images, images) <= TOLERANCE


def _cannot_draw(known: KnownRequest, device: str) -> str:
    request = known.request
    return f"The model {request.graph!r} cannot draw a test image of {request.width}x{request.height} on {device}."
