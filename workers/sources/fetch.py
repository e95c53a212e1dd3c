"""Returns the file of an adapter for any kind of source."""

from pathlib import Path

from config.settings import DownloadSettings
from graphs.adapters.sources import LoraSource, url_file_name
from graphs.errors import ConfigurationError
from workers.sources.partial_file import PartialFile
from workers.sources.web import OnProgress, Remote, download


def fetch(source: LoraSource, folder: Path, settings: DownloadSettings, on_progress: OnProgress) -> Path:
    """Return the absolute path of the adapter's file; download it below ``<folder>/loras`` unless it exists there.

    Files from Hugging Face become ``loras/<org>/<repo>/<file>``, files from URLs ``loras/<alias>/<file>``. A local file
    is used in its place. Raises ConfigurationError with the adapter's alias.
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
    if source.kind == "hugging_face":
        # Imported here: huggingface_hub is a quarter of what the API and a worker would import at their start.
        from workers.sources.hub import fetch_from_hub

        return fetch_from_hub(source, loras / source.location, settings, on_progress)
    target = loras / source.alias / url_file_name(source.location)
    if target.is_file():
        return target
    file = PartialFile(target)
    download(Remote(source.location), file, settings, on_progress)
    return file.complete()


def _local(location: str) -> Path:
    path = Path(location).absolute()
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}; give the path of a .safetensors file.")
    return path
