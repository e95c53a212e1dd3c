"""The size of an image in the form of graph.pbtxt and requests: ``WxH``."""

import re
from dataclasses import dataclass

_WXH = re.compile(r"([1-9][0-9]*)x([1-9][0-9]*)", re.ASCII)
_LARGEST_SIDE = 2**31 - 1


@dataclass(frozen=True)
class Resolution:
    """Width and height in pixels."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> "Resolution":
        """Read exactly ``WxH``: two positive integers without sign, space or leading zero.

        Raises ValueError with a sentence for the author of the text.
        """
        match = _WXH.fullmatch(text)
        if match is None:
            raise ValueError(f"{_shown(text)} is not a resolution; write WIDTHxHEIGHT in pixels, such as 512x512.")
        # The length is checked first, because converting very long digit strings to numbers is slow.
        if any(len(side) > 10 or int(side) > _LARGEST_SIDE for side in match.groups()):
            raise ValueError(f"{_shown(text)} is too large: a side has at most {_LARGEST_SIDE} pixels.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def parse_list(cls, text: str) -> "tuple[Resolution, ...]":
        """Read one or more resolutions with spaces between them, and return them in their order.

        Raises ValueError for an empty list, a duplicate or an entry that is not ``WxH``.
        """
        found = tuple(cls.parse(entry) for entry in text.split())
        if not found:
            raise ValueError("The list of resolutions is empty; write at least one, such as 512x512.")
        for index, entry in enumerate(found):
            if entry in found[:index]:
                raise ValueError(f"{entry} is listed twice; write each resolution once.")
        return found

    def nearest(self, multiple: int) -> "Resolution":
        """Return the nearest size whose sides are multiples of this, above 0."""
        # Integers only: a number from a client may be too large for a float.
        return Resolution(
            *(
                max(multiple, (2 * side + multiple - 1) // (2 * multiple) * multiple)
                for side in (self.width, self.height)
            )
        )

    def fits(self, limit: "Resolution") -> bool:
        """Return whether neither side is longer than that of the limit."""
        return self.width <= limit.width and self.height <= limit.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
