"""The files of a model's repository: as the Hub lists them, or as its cache on this machine holds them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from config.settings import DownloadSettings
from graphs.adapters.addresses import is_plain_path
from graphs.errors import ConfigurationError
from workers.sources.hub_client import endpoint_of
from workers.sources.hub_errors import HUB_ERRORS, WrongToken, offline, refuse
from workers.sources.models.source import ModelSource


@dataclass(frozen=True)
class RepositoryFile:
    """A file: its path in the repository, its size in bytes, and how it is known.

    ``sha256`` is None for small files, which the Hub keeps in git. ``etag`` is the name of its bytes in the cache.
    """

    name: str
    size: int
    sha256: str | None
    etag: str


@dataclass(frozen=True)
class Listing:
    """The files of one commit. ``named`` is the repository's name now, if it was renamed."""

    commit: str
    files: tuple[RepositoryFile, ...]
    named: str
    is_public_without_token: bool = False

    def by_name(self) -> dict[str, RepositoryFile]:
        """Return the files by their names."""
        return {file.name: file for file in self.files}


def list_repository(source: ModelSource, settings: DownloadSettings) -> Listing:
    """Ask the Hub for the files of a revision.

    A token that the Hub does not know is left out where the repository is public. Raises ConfigurationError.
    """
    if settings.offline:
        raise offline(source.name)
    try:
        return _list(source, settings, token=settings.hf_token)
    except WrongToken as wrong:
        try:
            found = _list(source, settings, token=False)
        except ConfigurationError:
            raise wrong from None
        return Listing(found.commit, found.files, found.named, is_public_without_token=True)


def _list(source: ModelSource, settings: DownloadSettings, *, token: str | bool | None) -> Listing:
    try:
        api = HfApi(endpoint=endpoint_of(settings), token=token)
        info = api.model_info(
            source.name, revision=source.revision, files_metadata=True, timeout=settings.timeout_s, token=token
        )
    except HUB_ERRORS as error:
        refuse(error, str(source), settings)
    files = []
    for found in info.siblings or []:
        if is_plain_path(found.rfilename) and found.size is not None:
            sha256 = found.lfs.sha256 if found.lfs else None
            files.append(RepositoryFile(found.rfilename, found.size, sha256, sha256 or found.blob_id or ""))
    return Listing(info.sha or source.revision, tuple(files), info.id or source.name)


def cached_snapshot(source: ModelSource) -> Path | None:
    """Return the folder of a revision in the Hub's cache on this machine (HF_HOME), None where it has none."""
    try:
        return Path(snapshot_download(source.name, revision=source.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def listing_of_snapshot(source: ModelSource, snapshot: Path) -> Listing:
    """Return the files that a folder of the cache holds. Their sizes are those on disk."""
    return Listing(snapshot.name, tuple(_files_below(snapshot)), source.name)


def _files_below(snapshot: Path) -> Iterable[RepositoryFile]:
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            blob = path.resolve()
            etag = blob.name if blob.parent.name == "blobs" else ""
            yield RepositoryFile(path.relative_to(snapshot).as_posix(), blob.stat().st_size, None, etag)


def save_listing(listing: Listing, path: Path) -> None:
    """Write a listing, so that a later attempt goes on with the same commit."""
    path.write_text(json.dumps(asdict(listing)), encoding="utf-8")


def saved_listing(path: Path) -> Listing | None:
    """Return the listing that an earlier attempt wrote, None without one or with one that cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(RepositoryFile(**file) for file in found.pop("files"))
        return Listing(**found, files=files)
    except (OSError, ValueError, TypeError, KeyError):
        return None
