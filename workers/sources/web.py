"""Downloading one file over HTTP: checked addresses, redirects by hand, a size limit, going on where it broke off."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from workers.sources.addresses import allowed_addresses
from workers.sources.partial_file import PartialFile

OnProgress = Callable[[int, int | None], None]
"""Told the bytes that are there and the bytes in all, None where the server does not say."""

_MOST_REDIRECTS = 5
_MOST_ATTEMPTS = 20
_SENTENCES = {
    401: "wants a token or password for it",
    403: "does not allow this download",
    404: "has no such file",
    410: "has no such file any more",
    429: "has had too many requests; try again later",
}


@dataclass(frozen=True)
class Remote:
    """A file on a server. ``headers`` (a token) are sent to ``trusted``, a URL whose server the operator chose, only;
    that server may have a private address and speak plain HTTP."""

    url: str
    trusted: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def download(remote: Remote, file: PartialFile, settings: DownloadSettings, on_progress: OnProgress) -> None:
    """Bring the remote file's bytes into the partial file, going on with what an earlier attempt left there.

    A connection that breaks is made anew as long as that brings more bytes. Raises ConfigurationError with one
    sentence; what has arrived stays for the next attempt.
    """
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        before = file.size
        try:
            _transfer(remote, file, settings, on_progress)
            return
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if file.size <= before or attempt == _MOST_ATTEMPTS:
                raise ConfigurationError(_broken(httpx.URL(remote.url).host, file, error)) from error


def _transfer(remote: Remote, file: PartialFile, settings: DownloadSettings, on_progress: OnProgress) -> None:
    # Without the environment's proxies: they would resolve the name themselves, after it was checked.
    with httpx.Client(verify=httpx.create_ssl_context(), trust_env=False, timeout=settings.timeout_s) as client:
        with _answer(client, remote, settings, file.resume_headers()) as response:
            if response.status_code != 416:
                _receive(response, file, settings.max_bytes, on_progress)
                return
            if response.headers.get("content-range") == f"bytes */{file.size}":  # it was all there
                return
        file.discard()
        with _answer(client, remote, settings, {}) as response:
            _receive(response, file, settings.max_bytes, on_progress)


@contextmanager
def _answer(
    client: httpx.Client, remote: Remote, settings: DownloadSettings, headers: Mapping[str, str]
) -> Iterator[httpx.Response]:
    """The response that is not a redirect, its body unread. Every hop is checked like the first."""
    url = httpx.URL(remote.url)
    for _ in range(_MOST_REDIRECTS + 1):
        response = _send(client, url, remote, settings, headers)
        try:
            if not response.has_redirect_location:
                yield response
                return
            url = url.join(response.headers["location"])
        finally:
            response.close()
    raise ConfigurationError(f"{httpx.URL(remote.url).host} redirects more than {_MOST_REDIRECTS} times.")


def _send(
    client: httpx.Client, url: httpx.URL, remote: Remote, settings: DownloadSettings, headers: Mapping[str, str]
) -> httpx.Response:
    is_trusted = remote.trusted is not None and _origin(url) == _origin(httpx.URL(remote.trusted))
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{url.host or 'the server'} leads to {url.scheme or 'nowhere'}, not to https://.")
    if url.scheme == "http" and not (is_trusted or settings.allow_http):
        reason = "is plain HTTP; use https://, or set IMAGEGEN_DOWNLOADS__ALLOW_HTTP=true"
        raise ConfigurationError(f"the download from {url.host} {reason}.")
    allow_private = is_trusted or settings.allow_private
    addresses = allowed_addresses(url.raw_host.decode(), _origin(url)[2], allow_private=allow_private)
    # A compressed body would make lengths and offsets mean something else.
    sent = {"Host": url.netloc.decode(), "Accept-Encoding": "identity", **headers}
    sent |= remote.headers if is_trusted else {}
    for address in addresses:
        # The connection goes to the checked address, the certificate is checked for the name (httpx's sni_hostname).
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers=sent,
            extensions={"sni_hostname": url.raw_host.decode()},
        )
        try:
            return client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise ConfigurationError(f"the server {url.host} has no address.")


def _receive(response: httpx.Response, file: PartialFile, max_bytes: int, on_progress: OnProgress) -> None:
    host = response.request.headers["host"]
    if response.status_code not in (200, 206):
        sentence = _SENTENCES.get(response.status_code, "does not give the file")
        raise ConfigurationError(f"{host} {sentence} (status {response.status_code}).")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ConfigurationError(f"{host} sends the file compressed, which was not asked for.")
    done = file.accept(response)
    length = response.headers.get("content-length", "")
    total = done + int(length) if length.isdecimal() else None
    _check_size(file, host, total or done, max_bytes)
    with file.open_at(done) as out:
        for chunk in response.iter_raw():
            done += len(chunk)
            _check_size(file, host, done, max_bytes)
            out.write(chunk)
            on_progress(done, total)


def _check_size(file: PartialFile, host: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        file.discard()
        raise ConfigurationError(
            f"the file from {host} is larger than the limit of {max_bytes} bytes (IMAGEGEN_DOWNLOADS__MAX_BYTES)."
        )


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _broken(host: str, file: PartialFile, error: Exception) -> str:
    if isinstance(error, httpx.InvalidURL):
        return f"{host} redirects to something that is not a URL."
    why = "broke off the download"
    if isinstance(error, httpx.ConnectError):
        why = "cannot be reached; check that this machine reaches the network"
    elif isinstance(error, httpx.TimeoutException):
        why = "does not answer in time"
    kept = f"; {file.size} bytes are here, and the next attempt goes on from there" if file.resume_headers() else ""
    return f"{host} {why}{kept} ({error})."
