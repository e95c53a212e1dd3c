"""Returns the file of an adapter for any kind of source."""

import hashlib
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from config.settings import DownloadSettings
from graphs.adapters.addresses import url_file_name, version_of
from graphs.adapters.lora_source import LoraSource
from graphs.errors import ConfigurationError
from workers.sources.civitai import fetch_version
from workers.sources.hub_pages import file_of_page
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


def fetch(source: LoraSource, folder: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the absolute path of the adapter's file; download it below ``<folder>/loras`` unless it exists there.

    Files from Hugging Face become ``loras/<org>/<repo>/<file>``, files from URLs ``loras/<alias>/<file>``; a URL with a
    query, a revision or a version has a folder of its own in ``loras/<alias>``. A local file is used in its place.
    Raises ConfigurationError with the adapter's alias.
    """
    try:
        return _fetch(source, folder.absolute() / "loras", settings, on_progress)
    except ConfigurationError as error:
        raise ConfigurationError(f"adapter {source.alias!r}: {error.message}") from error
    except OSError as error:
        reason = f"its file cannot be written below {folder / 'loras'}: {error.strerror or error}"
        raise ConfigurationError(f"adapter {source.alias!r}: {reason}.") from error


def _fetch(source: LoraSource, loras: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    if source.kind == "local":
        return _local(source.location)
    if source.kind == "url":
        return _from_url(source.location, loras / source.alias, settings, on_progress)
    # Imported here: huggingface_hub is a quarter of what the API and a worker would import at their start.
    from workers.sources.hub import fetch_from_hub

    return fetch_from_hub(source, loras / source.location, settings, on_progress)


def _from_url(url: str, folder: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    page = file_of_page(url, settings.hf_endpoint)
    if page is not None:
        from workers.sources.hub import fetch_file

        place = folder if page.revision == "main" else folder / quote(page.revision, safe="")
        return fetch_file(page, place / url_file_name(url), settings, on_progress)
    # httpx encodes what a URL must not contain and leaves what is encoded, but also a % that begins no encoding.
    url = _LONE_PERCENT.sub("%25", url)
    query = urlsplit(url).query
    digest = hashlib.sha256(query.encode()).hexdigest()[:8] if query else None
    if version := version_of(url):
        return fetch_version(url, version, folder / "-".join(filter(None, (version, digest))), settings, on_progress)
    target = (folder / digest if digest else folder) / url_file_name(url)
    if target.is_file():
        return target
    file = PartialFile(target)
    download(Remote(url), file, settings, on_progress)
    return file.complete()


def _local(location: str) -> Path:
    path = Path(location).absolute()
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}; give the path of a .safetensors file.")
    return path
