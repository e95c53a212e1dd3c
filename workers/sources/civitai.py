"""Adapters from Civitai: downloads of its API, whose file name comes with the answer."""

from collections.abc import Iterator
from pathlib import Path

import httpx2

from config.settings import DownloadSettings
from graphs.adapters.addresses import SUFFIX
from graphs.errors import ConfigurationError
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download, origin_of


def fetch_version(url: str, version: str, place: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the path of a version's file; download it unless ``place``, the folder of this download alone, has it.

    The token is sent to Civitai's own servers only, and not to the storage that they redirect to.
    Raises ConfigurationError with one sentence.
    """
    present = [path for path in place.glob("*") if path.suffix.lower() == SUFFIX]
    if len(present) == 1:
        return present[0]
    file = PartialFile(place / f"{version}{SUFFIX}")
    name = download(_remote(url, settings), file, settings, on_progress)
    if name is not None and not name.lower().endswith(SUFFIX):
        file.discard()
        raise ConfigurationError(
            f"the file of this version is {name!r}, and must end in {SUFFIX}; choose another file of the version "
            "with ?type=Model&format=SafeTensor."
        )
    return file.complete(name=name)


def _remote(url: str, settings: DownloadSettings) -> Remote:
    server = next((own for own in _servers(settings) if origin_of(httpx2.URL(url)) == origin_of(own)), None)
    if server is None:
        return Remote(url)
    token = settings.civitai_token
    if token:
        headers = {"Authorization": f"Bearer {token}"}
        return Remote(url, trusted=url, headers=headers, login_hint="the token of CIVITAI_TOKEN is not accepted")
    return Remote(url, trusted=url, login_hint="set CIVITAI_TOKEN to a token of your account")


def _servers(settings: DownloadSettings) -> Iterator[httpx2.URL]:
    return map(httpx2.URL, settings.civitai_endpoint.split())
