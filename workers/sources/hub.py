"""Adapters from Hugging Face, or from a mirror with the same API.

``huggingface_hub`` finds the file: its name, revision, checksum, and the token to send. The bytes come through
``workers.sources.web``, because ``hf_hub_download`` of version 2 starts again after an interruption and has no size
limit.
"""

import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    HfFileMetadata,
    get_hf_file_metadata,
    get_token,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from config.settings import DownloadSettings
from graphs.adapters.addresses import SUFFIX, is_plain_path
from graphs.adapters.lora_source import LoraSource
from graphs.errors import ConfigurationError
from workers.net.proxies import EnvironmentTransport
from workers.sources.hub_pages import HubFile
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_LISTED = 20

# huggingface_hub's own client, but for the choice of a proxy.
set_client_factory(lambda: httpx2.Client(transport=EnvironmentTransport(), follow_redirects=True, timeout=None))


class _Unreachable(ConfigurationError):
    """Hugging Face cannot be reached, or offline mode forbids it."""


def fetch_from_hub(source: LoraSource, place: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the path of the adapter's file below ``place``, its repository's folder; download it unless it exists.

    Without a file name the repository must have exactly one .safetensors file; where the Hub cannot be reached, the
    only such file below ``place`` is used. Raises ConfigurationError with one sentence.
    """
    if source.file is not None and (place / source.file).is_file():
        return place / source.file
    try:
        name, revision = (source.file, "main") if source.file else _only_file(source.location, settings)
    except _Unreachable:
        present = sorted(place.rglob(f"*{SUFFIX}")) if source.file is None else []
        if len(present) == 1:
            return present[0]
        raise
    if (place / name).is_file():
        return place / name
    return _download(HubFile(source.location, revision, name), place / name, settings, on_progress)


def fetch_file(file: HubFile, target: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return ``target``; download the file to it unless it exists. Raises ConfigurationError with one sentence."""
    return target if target.is_file() else _download(file, target, settings, on_progress)


def _download(hub_file: HubFile, target: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    try:
        url = hf_hub_url(hub_file.repository, hub_file.name, revision=hub_file.revision, endpoint=_endpoint(settings))
    except HFValidationError as error:
        raise ConfigurationError(f"{hub_file.repository!r} is not a Hugging Face repository.") from error
    metadata = _metadata(url, hub_file.repository, hub_file.name, settings)
    etag = metadata.etag or ""
    file = PartialFile(target)
    token = settings.hf_token or get_token()  # the token that `hf auth login` stored
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    download(Remote(url, trusted=url, headers=headers), file, settings, on_progress)
    # For large files the Hub's ETag is the content's SHA-256, for small ones git's SHA-1.
    return file.complete(etag if _SHA256.fullmatch(etag) else None)


def _only_file(repository: str, settings: DownloadSettings) -> tuple[str, str]:
    """Return the name of the repository's only adapter file, and the revision that was listed."""
    _check_online(repository, settings)
    try:
        api = HfApi(endpoint=_endpoint(settings), token=settings.hf_token)
        info = api.model_info(repository, timeout=settings.timeout_s)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        _refuse(error, repository, None, settings)
    files = sorted(sibling.rfilename for sibling in info.siblings or [])
    found = [file for file in files if file.lower().endswith(SUFFIX) and is_plain_path(file)]
    if len(found) == 1:
        return found[0], info.sha or "main"
    if not found:
        listed = ", ".join(files[:_MOST_LISTED]) or "it is empty"
        raise ConfigurationError(f"the repository {repository} has no {SUFFIX} file ({listed}).")
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    raise ConfigurationError(
        f"the repository {repository} has {len(found)} {SUFFIX} files; choose one with {repository}@FILE: "
        f"{', '.join(found[:_MOST_LISTED])}{more}."
    )


def _metadata(url: str, repository: str, file: str, settings: DownloadSettings) -> HfFileMetadata:
    _check_online(repository, settings)
    try:
        return get_hf_file_metadata(
            url, token=settings.hf_token, timeout=settings.timeout_s, endpoint=_endpoint(settings)
        )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        _refuse(error, repository, file, settings)


def _check_online(repository: str, settings: DownloadSettings) -> None:
    if settings.offline:
        raise _Unreachable(_offline(repository))


def _refuse(error: Exception, repository: str, file: str | None, settings: DownloadSettings) -> NoReturn:
    host = urlsplit(settings.hf_endpoint).netloc
    if isinstance(error, OfflineModeIsEnabled):
        raise _Unreachable(_offline(repository)) from error
    if isinstance(error, GatedRepoError):
        reason = f"is gated: accept its terms at {_endpoint(settings)}/{repository}, and set HF_TOKEN to your token"
        raise ConfigurationError(f"the repository {repository} {reason}.") from error
    if isinstance(error, RepositoryNotFoundError):
        reason = (
            f"{host} has no repository {repository}, or it is private: then set HF_TOKEN to a token that may read it"
        )
        raise ConfigurationError(f"{reason}.") from error
    if isinstance(error, RevisionNotFoundError):
        raise ConfigurationError(f"the repository {repository} at {host} has no such revision.") from error
    if isinstance(error, EntryNotFoundError):
        raise ConfigurationError(f"the repository {repository} at {host} has no file {file!r}.") from error
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        kind = _Unreachable if status >= 500 or status == 429 else ConfigurationError
        raise kind(f"{host} answered with status {status} when asked for {repository}; try again later.") from error
    why = f" ({error})" if isinstance(error, httpx2.TransportError) else ""
    raise _Unreachable(
        f"{host} cannot be reached for the adapter's repository {repository}{why}; check that this machine reaches the "
        "network, set HF_ENDPOINT to a mirror, or download the file elsewhere and give its path."
    ) from error


def _offline(repository: str) -> str:
    return (
        f"the adapter's repository {repository} is not here, and HF_HUB_OFFLINE forbids asking Hugging Face for it; "
        "unset it, or give the path of a file."
    )


def _endpoint(settings: DownloadSettings) -> str:
    return settings.hf_endpoint.rstrip("/")
