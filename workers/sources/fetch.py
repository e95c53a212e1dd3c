"""Returns the file of an adapter for any kind of source."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

from config.settings import DownloadSettings
from graphs.adapters.addresses import url_file_name, version_of
from graphs.adapters.lora_source import LoraSource
from graphs.errors import ConfigurationError
from workers.sources.civitai import fetch_version
from workers.sources.content import keep_by_content
from workers.sources.hub_pages import file_of_page
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\.\\")


def fetch(source: LoraSource, folder: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the absolute path of the adapter's file; download it below ``<folder>/loras`` unless it exists there.

    Files from Hugging Face become ``loras/<org>/<repo>/<file>``, files from URLs ``loras/<alias>/<file>``; a URL with a
    query, a revision or a version has a folder of its own in ``loras/<alias>``. A local file is used in its place.
    Equal downloads share one file on disk (content.py).
    Raises ConfigurationError with the adapter's alias.
    """
    loras = folder.absolute() / "loras"
    try:
        path = _fetch(source, loras, settings, on_progress)
        if source.kind != "local":
            keep_by_content(path, loras)
        return path
    except ConfigurationError as error:
        raise ConfigurationError(f"adapter {source.alias!r}: {error.message}") from error
    except OSError as error:
        reason = f"its file cannot be written below {folder / 'loras'}: {error.strerror or error}"
        raise ConfigurationError(f"adapter {source.alias!r}: {reason}.") from error


def check_local_files(sources: Iterable[LoraSource]) -> None:
    """Check that the files on this machine are there. Raises ConfigurationError with the adapter's alias."""
    for source in sources:
        if source.kind == "local":
            try:
                _local(source.location)
            except ConfigurationError as error:
                raise ConfigurationError(f"adapter {source.alias!r}: {error.message}") from error


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
    # httpx2 encodes what a URL must not contain and leaves what is encoded, but also a % that begins no encoding.
    url = _LONE_PERCENT.sub("%25", url)
    query = urlsplit(url).query
    digest = hashlib.sha256(query.encode()).hexdigest()[:8] if query else None
    if version := version_of(url):
        place = folder / "-".join(filter(None, (version, digest)))
        if not _is_of(_record(folder, place), url):
            place = folder / _digest(url)[:16]
        path = fetch_version(url, version, place, settings, on_progress)
        _write(_record(folder, place), url)
        return path
    target = (folder / digest if digest else folder) / url_file_name(url)
    if target.is_file() and not _is_of(_record(folder, target), url):
        # The same alias and name, but another address: each has a file of its own.
        target = folder / _digest(url)[:16] / url_file_name(url)
    if target.is_file():
        return target
    file = PartialFile(target)
    download(Remote(url), file, settings, on_progress)
    _write(_record(folder, target), url)
    return file.complete()


def _record(folder: Path, target: Path) -> Path:
    """Return the path of the record that says from which address a file, or a version's folder, came."""
    return folder.with_name(f".{folder.name}.addresses") / target.relative_to(folder)


def _is_of(record: Path, url: str) -> bool:
    """Return whether a file came from this address; one without a record was put there by hand, or by 0.1.0."""
    return not record.is_file() or record.read_text(encoding="ascii") == _digest(url)


def _write(record: Path, url: str) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(_digest(url), encoding="ascii")


def _digest(url: str) -> str:
    """Return what a record holds of an address; the address itself may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()


def _local(location: str) -> Path:
    path = Path(location).absolute()
    if path.is_file():
        return path
    if _WINDOWS.match(location):
        raise ConfigurationError(
            f"{location} is a path of Windows, and this server runs on Linux; give the path of a file here."
        )
    raise ConfigurationError(f"there is no file {path}; give the path of a .safetensors file.")
