"""What Hugging Face, or a mirror of it, refuses, as one sentence each."""

from typing import NoReturn
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError

# What the calls of huggingface_hub raise.
HUB_ERRORS = (OSError, ValueError, httpx2.HTTPError)
_UNAUTHORIZED = 401


class Unreachable(ConfigurationError):
    """Hugging Face cannot be reached, or offline mode forbids to ask it."""


class Busy(Unreachable):
    """Hugging Face answers that it has no time now."""


class WrongToken(ConfigurationError):
    """Hugging Face does not know the token that was sent."""


def refuse(error: Exception, repository: str, settings: DownloadSettings, *, file: str | None = None) -> NoReturn:
    """Raise ConfigurationError for an error of huggingface_hub about this repository (of ``HUB_ERRORS``)."""
    endpoint = settings.hf_endpoint.rstrip("/")
    host = urlsplit(endpoint).netloc
    if isinstance(error, OfflineModeIsEnabled):
        raise offline(repository) from error
    if isinstance(error, GatedRepoError):
        reason = f"is gated: accept its terms at {endpoint}/{repository}, and set HF_TOKEN to your token"
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
        _refuse_status(error, repository, host)
    if isinstance(error, LocalTokenNotFoundError):
        raise ConfigurationError(f"the repository {repository} wants a token: set HF_TOKEN.") from error
    why = f" ({error})" if isinstance(error, httpx2.TransportError) else ""
    raise Unreachable(
        f"{host} cannot be reached for the repository {repository}{why}; check that this machine reaches the network, "
        "set HF_ENDPOINT to a mirror, or download the file elsewhere and give its path."
    ) from error


def offline(repository: str) -> Unreachable:
    """Return the error for what is not here while offline mode forbids to ask for it."""
    return Unreachable(
        f"the repository {repository} is not here, and HF_HUB_OFFLINE forbids asking Hugging Face for it; unset it, or "
        "give the path of a file."
    )


def _refuse_status(error: HfHubHTTPError, repository: str, host: str) -> NoReturn:
    status = error.response.status_code
    if status == _UNAUTHORIZED:
        raise _wrong_token(host) from error
    sentence = f"{host} answered with status {status} when asked for {repository}; try again later."
    if status >= 500 or status == 429:
        raise Busy(sentence) from error
    raise ConfigurationError(sentence) from error


def _wrong_token(host: str) -> WrongToken:
    return WrongToken(f"{host} does not know the token in HF_TOKEN; correct it, or unset it for public repositories.")
