"""Leaves the paths of the server out of sentences that clients read; the log has the whole sentence.

An error of the engine is written for the operator: it names the file that cannot be used. The sentences of OpenVINO
also name files of the model, and places in its own sources.
"""

import re
from collections.abc import Iterable
from pathlib import Path

# In quotes or brackets a path may contain blanks.
_ENCLOSED = re.compile(r"""(["'(])(?:file://)?(/[^"'()\n]+)(["')])""")
# Neither a part of a URL nor of a word such as image/png: a path begins behind a blank or a mark. A mark within a path
# belongs to it, and so does a word behind a blank that contains a slash.
_PLAIN = re.compile(
    r"""(?<![\w/.~%-])(?:file://)?(/(?!/)(?:[^\s"'():;,]|[:;,](?=[^\s"'():;,])|[ ](?=[^\s"'():;,/]+/))+)"""
)
_SOURCE = re.compile(r"(?<![\w/])(?:[\w.-]+/)+([\w.-]+\.(?:cpp|hpp|cc|h):\d+)")


class ServerPaths:
    """The folders and files of this server that sentences may name, with or without blanks in them."""

    def __init__(self, known: Iterable[Path | None] = ()) -> None:
        """``known`` are absolute paths; None is skipped. Other paths are found by their form."""
        self._known = sorted({str(path) for path in known if path is not None and path.name}, key=len, reverse=True)

    def left_out_of(self, sentence: str) -> str:
        """Return the sentence with the last name of each path in place of the path."""
        for path in self._known:
            sentence = sentence.replace(path, Path(path).name)
        sentence = _ENCLOSED.sub(lambda found: found[1] + Path(found[2]).name + found[3], sentence)
        sentence = _SOURCE.sub(r"\1", sentence)
        return _PLAIN.sub(lambda found: Path(found[1]).name, sentence)
