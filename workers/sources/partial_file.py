"""A partly downloaded file, ``<name>.part``, which a later attempt completes if the server's file is unchanged."""

import hashlib
import os
import re
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import httpx2

from graphs.adapters.safetensors_file import LARGEST_HEADER
from graphs.errors import ConfigurationError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)", re.ASCII)


class PartialFile:
    """The bytes of ``target`` that have arrived so far; ``target`` itself appears only once it is complete."""

    what = "the adapter"

    def __init__(self, target: Path) -> None:
        self._target = target
        self.part = target.with_name(f"{target.name}.part")
        self._validator = target.with_name(f"{target.name}.part.etag")
        target.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        """Return how many bytes have arrived."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def resume_headers(self) -> dict[str, str]:
        """Return the headers of a request for the rest, valid if the file is unchanged (RFC 9110, If-Range)."""
        if not self.size or not self._validator.is_file():
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._validator.read_text(encoding="latin-1")}

    def accept(self, response: httpx2.Response) -> int:
        """Return the offset in bytes at which the response's body starts: 0, or the end of this file.

        Raises ConfigurationError where the response has another part of the file.
        """
        if response.status_code == 200:
            self.discard()
            etag = response.headers.get("etag", "")
            # A weak ETag does not guarantee the same bytes.
            validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified", "")
            if validator:
                self._validator.write_text(validator, encoding="latin-1")
            return 0
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != self.size:
            self.discard()
            raise ConfigurationError("the server sent another part of the file than was asked for; try again.")
        return int(match[1])

    def open_at(self, start: int) -> BinaryIO:
        """Open the file to append after its ``start`` bytes; 0 opens it empty."""
        return self.part.open("ab" if start else "wb")

    def discard(self) -> None:
        """Delete the bytes that have arrived."""
        self.part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def problem(self, sha256: str | None) -> str | None:
        """Return why the complete file is not what it should be, or None."""
        return _problem(self.part, sha256)

    def complete(self, sha256: str | None = None, name: str | None = None) -> Path:
        """Check the complete file, rename it to ``target`` and return that path; ``name`` is another name for it.

        Raises ConfigurationError where it is no safetensors file or its SHA-256 differs from the given one.
        """
        problem = self.problem(sha256)
        if problem:
            self.discard()
            raise ConfigurationError(f"what was downloaded is not {self.what}: {problem}.")
        target = self._target.with_name(name) if name else self._target
        os.replace(self.part, target)
        self._validator.unlink(missing_ok=True)
        return target


def _problem(path: Path, sha256: str | None) -> str | None:
    """Return why the file is not the adapter, or None. It may be a web page, such as a login form."""
    with closing(path.open("rb")) as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        if len(start) < 9 or start[8:] != b"{" or length > path.stat().st_size - 8:
            return "it does not begin as a safetensors file does"
        if length > LARGEST_HEADER:
            return f"its header has {length} bytes, and an adapter's may have {LARGEST_HEADER}"
        file.seek(0)
        if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            return "its SHA-256 is not the one that the server gives"
    return None
