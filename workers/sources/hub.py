"""Adapters from Hugging Face, or from a mirror with the same API.

``huggingface_hub`` finds the file: its name, revision, checksum, and the token to send. The bytes come through
``workers.sources.web``, because ``hf_hub_download`` of version 2 starts again after an interruption and has no size
limit.
"""

import re
from pathlib import Path

from huggingface_hub import (
    HfApi,
    HfFileMetadata,
    get_hf_file_metadata,
    hf_hub_url,
)
from huggingface_hub.errors import HFValidationError

from config.settings import DownloadSettings
from graphs.adapters.addresses import SUFFIX, is_plain_path
from graphs.adapters.lora_source import LoraSource
from graphs.errors import ConfigurationError
from workers.sources.hub_client import endpoint_of, token_headers
from workers.sources.hub_errors import HUB_ERRORS, Unreachable, offline, refuse
from workers.sources.hub_pages import HubFile
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_LISTED = 20


def fetch_from_hub(source: LoraSource, place: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the path of the adapter's file below ``place``, its repository's folder; download it unless it exists.

    Without a file name the repository must have exactly one .safetensors file; where the Hub cannot be reached, the
    only such file below ``place`` is used. Raises ConfigurationError with one sentence.
    """
    if source.file is not None and (place / source.file).is_file():
        return place / source.file
    try:
        name, revision = (source.file, "main") if source.file else _only_file(source.location, settings)
    except Unreachable:
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
        url = hf_hub_url(hub_file.repository, hub_file.name, revision=hub_file.revision, endpoint=endpoint_of(settings))
    except HFValidationError as error:
        raise ConfigurationError(f"{hub_file.repository!r} is not a Hugging Face repository.") from error
    metadata = _metadata(url, hub_file.repository, hub_file.name, settings)
    etag = metadata.etag or ""
    file = PartialFile(target)
    download(Remote(url, trusted=url, headers=token_headers(settings)), file, settings, on_progress)
    # For large files the Hub's ETag is the content's SHA-256, for small ones git's SHA-1.
    return file.complete(etag if _SHA256.fullmatch(etag) else None)


def _only_file(repository: str, settings: DownloadSettings) -> tuple[str, str]:
    """Return the name of the repository's only adapter file, and the revision that was listed."""
    _check_online(repository, settings)
    try:
        api = HfApi(endpoint=endpoint_of(settings), token=settings.hf_token)
        info = api.model_info(repository, timeout=settings.timeout_s)
    except HUB_ERRORS as error:
        refuse(error, repository, settings)
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
            url, token=settings.hf_token, timeout=settings.timeout_s, endpoint=endpoint_of(settings)
        )
    except HUB_ERRORS as error:
        refuse(error, repository, settings, file=file)


def _check_online(repository: str, settings: DownloadSettings) -> None:
    if settings.offline:
        raise offline(repository)
