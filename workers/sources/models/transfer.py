"""Brings one file of a repository: from the cache of Hugging Face where it is there, else over the network."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TypeVar

from huggingface_hub import hf_hub_url
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.file_download import repo_folder_name

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from workers.sources.hub_client import endpoint_of, token_headers
from workers.sources.hub_errors import Busy
from workers.sources.models.listed_file import ListedFile
from workers.sources.models.listing import Listing, RepositoryFile
from workers.sources.models.source import ModelSource
from workers.sources.web import PassingError, Remote, download

_Result = TypeVar("_Result")
_MOST_TRIES = 6
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
# Models take as long as they take: what waits too long for the next bytes is ended by ``timeout_s``.
_TOTAL_TIMEOUT_S = 30 * 86400.0
_LOGIN_HINT = "set HF_TOKEN to a token that may read this repository, and accept its terms where it has any"


class Transfer:
    """Brings files of one listing into a folder."""

    def __init__(
        self,
        source: ModelSource,
        listing: Listing,
        snapshot: Path | None,
        settings: DownloadSettings,
        say: Callable[[str], None],
    ) -> None:
        """``snapshot`` is the folder of the cache with files of this revision, if any."""
        self._listing = listing
        self._snapshot = snapshot
        self._say = say
        self._settings = settings.for_operator()
        self._endpoint = endpoint_of(settings)
        self._headers = {} if listing.is_public_without_token else token_headers(settings)
        folder = repo_folder_name(repo_id=source.name, repo_type="model")
        self._blobs = Path(HF_HUB_CACHE) / folder / "blobs"

    def fetch(self, file: RepositoryFile, folder: Path, on_bytes: Callable[[int], None]) -> Path:
        """Return the file below ``folder``, which is brought unless it is there. Raises ConfigurationError."""
        target = folder / file.name
        if target.is_file() and target.stat().st_size == file.size:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        if (cached := self._cached(file)) is not None:
            _link(cached, target)
            return target
        return self._download(file, ListedFile(target, file), on_bytes)

    def _cached(self, file: RepositoryFile) -> Path | None:
        """Return the bytes in the cache: those of this commit, or of any other with the same content."""
        places = [self._blobs / file.etag] if file.etag else []
        if self._snapshot is not None and self._snapshot.name == self._listing.commit:
            places.append(self._snapshot / file.name)
        return next((place for place in places if place.is_file() and place.stat().st_size == file.size), None)

    def _download(self, file: RepositoryFile, part: ListedFile, on_bytes: Callable[[int], None]) -> Path:
        if part.size > file.size:
            part.discard()
        # A file that is not what was listed is fetched once more: a resumed one may have been of two versions.
        for is_last in (False, True):
            if not part.is_complete():
                with_patience(lambda: self._transfer(file, part, on_bytes), lambda: part.size, self._say)
            try:
                return part.complete(file.sha256)
            except ConfigurationError as error:
                if is_last:
                    raise ConfigurationError(f"{file.name}: {error.message}") from error
                self._say(f"{file.name} is fetched once more: {error.message}")
        raise AssertionError("the last attempt returns or raises")

    def _transfer(self, file: RepositoryFile, part: ListedFile, on_bytes: Callable[[int], None]) -> None:
        url = hf_hub_url(self._listing.named, file.name, revision=self._listing.commit, endpoint=self._endpoint)
        settings = self._settings.model_copy(update={"max_bytes": file.size, "total_timeout_s": _TOTAL_TIMEOUT_S})
        remote = Remote(url, trusted=url, headers=self._headers, login_hint=_LOGIN_HINT)
        download(remote, part, settings, lambda done, _: on_bytes(done))


def with_patience(attempt: Callable[[], _Result], bytes_here: Callable[[], int], say: Callable[[str], None]) -> _Result:
    """Return what the attempt returns; where it ends with an error that may pass, wait and try again.

    It gives up after some attempts that brought no bytes. Raises ConfigurationError.
    """
    tries = 0
    while True:
        before = bytes_here()
        try:
            return attempt()
        except (PassingError, Busy) as error:
            tries = tries + 1 if bytes_here() <= before else 1
            if tries == _MOST_TRIES:
                raise
            wait_s = min(error.retry_after_s or _FIRST_WAIT_S * 2 ** (tries - 1), _LONGEST_WAIT_S)
            say(f"{error.message.rstrip('.')}; trying again in {wait_s:.0f} s")
            Event().wait(wait_s)


def _link(source: Path, target: Path) -> None:
    """Make the bytes of a file of the cache those of ``target``: another name for them, or a copy on another disk."""
    source = source.resolve()
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    os.replace(part, target)
