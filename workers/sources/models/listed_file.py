"""A file of a listing that is partly downloaded: it is known by its size and, where the Hub states it, its SHA-256."""

import hashlib
from pathlib import Path

from workers.sources.models.listing import RepositoryFile
from workers.sources.partial_file import PartialFile


class ListedFile(PartialFile):
    """The bytes of a listed file that have arrived. With a SHA-256, any server's rest may follow."""

    what = "the file of the repository"

    def __init__(self, target: Path, listed: RepositoryFile) -> None:
        super().__init__(target)
        self._listed = listed

    def is_complete(self) -> bool:
        """Return whether all bytes are here."""
        return self.part.is_file() and self.size == self._listed.size

    def resume_headers(self) -> dict[str, str]:
        """Return the headers of a request for the rest; with a SHA-256, no ETag has to be the same."""
        if self._listed.sha256 is None:
            return super().resume_headers()
        return {"Range": f"bytes={self.size}-"} if 0 < self.size < self._listed.size else {}

    def problem(self, sha256: str | None) -> str | None:
        """Return why the bytes are not those of the listing, or None."""
        if self.size != self._listed.size:
            return f"it has {self.size} bytes, and the listing says {self._listed.size}"
        if sha256 is None:
            return None
        with self.part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return None if found == sha256 else "its SHA-256 is not the one that the listing gives"
