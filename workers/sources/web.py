"""Downloads one file over HTTP: every address and redirect is checked, the size limited, and a break resumed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from config.settings import DownloadSettings
from graphs.errors import ConfigurationError
from workers.net.proxies import EnvironmentTransport, ProxyError, proxy_for
from workers.net.public_address import PrivateAddress, is_public, literal_address, public_addresses
from workers.sources.deadline import Deadline
from workers.sources.given_name import given_name
from workers.sources.partial_file import PartialFile

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes downloaded so far and the total, which is None where the server does not state it."""

_MOST_REDIRECTS = 5
_MOST_ATTEMPTS = 20
_SENTENCES = {
    401: "wants a token or password for it",
    403: "does not allow this download",
    404: "has no such file",
    410: "has no such file any more",
    429: "has had too many requests; try again later",
}


class PassingError(ConfigurationError):
    """A download broke off, or its server has no time now: another attempt may go on."""


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    ``trusted`` is a URL whose server the operator chose. Only that server receives ``headers`` (a token), and it may
    have a private address and use plain HTTP. ``login_hint`` is what to do where the server wants a login.
    """

    url: str
    trusted: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    login_hint: str = ""


def download(remote: Remote, file: PartialFile, settings: DownloadSettings, on_progress: OnProgress) -> str | None:
    """Download the remote file into the partial file, continuing from the bytes of an earlier attempt.

    After an interruption it connects again, as long as each attempt brings more bytes. Returns the name that the
    server gives the file, None if it gives none. Raises ConfigurationError with one sentence; the bytes that have
    arrived are kept for the next attempt.
    """
    with Deadline(settings.total_timeout_s) as deadline:
        return _download(remote, file, settings, on_progress, deadline)


def _download(
    remote: Remote, file: PartialFile, settings: DownloadSettings, on_progress: OnProgress, deadline: Deadline
) -> str | None:
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        before = file.size
        try:
            return _transfer(remote, file, settings, on_progress, deadline)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            if deadline.is_over:
                raise ConfigurationError(
                    f"the download from {httpx2.URL(remote.url).host} took longer than {settings.total_timeout_s:g} s "
                    "(IMAGEGEN_DOWNLOADS__TOTAL_TIMEOUT_S)."
                ) from error
            if file.size <= before or attempt == _MOST_ATTEMPTS:
                raise PassingError(_broken(httpx2.URL(remote.url).host, file, error)) from error
    raise AssertionError("the last attempt returns or raises")


def _transfer(
    remote: Remote, file: PartialFile, settings: DownloadSettings, on_progress: OnProgress, deadline: Deadline
) -> str | None:
    # A client's source without the environment's proxies: a proxy would resolve the name again, after the check.
    context = httpx2.create_ssl_context()
    transport = EnvironmentTransport(context) if settings.use_proxy else httpx2.HTTPTransport(context)
    with httpx2.Client(transport=transport, timeout=settings.timeout_s) as client:
        with _answer(client, remote, settings, file.resume_headers(), deadline) as response:
            was_complete = response.headers.get("content-range") == f"bytes */{file.size}"
            if response.status_code != 416:
                _receive(response, remote, file, settings.max_bytes, on_progress)
            if response.status_code != 416 or was_complete:
                return _given_name(response)
        file.discard()
        with _answer(client, remote, settings, {}, deadline) as response:
            _receive(response, remote, file, settings.max_bytes, on_progress)
            return _given_name(response)


def _given_name(response: httpx2.Response) -> str | None:
    return given_name(response.headers.get("content-disposition", ""))


@contextmanager
def _answer(
    client: httpx2.Client, remote: Remote, settings: DownloadSettings, headers: Mapping[str, str], deadline: Deadline
) -> Iterator[httpx2.Response]:
    """Follow redirects, each checked like the first URL, and yield the final response with its body unread."""
    url = httpx2.URL(remote.url)
    for _ in range(_MOST_REDIRECTS + 1):
        response = _send(client, url, remote, settings, headers, deadline)
        try:
            if not response.has_redirect_location:
                yield response
                return
            url = url.join(response.headers["location"])
        finally:
            response.close()
    raise ConfigurationError(f"{httpx2.URL(remote.url).host} redirects more than {_MOST_REDIRECTS} times.")


def _send(
    client: httpx2.Client,
    url: httpx2.URL,
    remote: Remote,
    settings: DownloadSettings,
    headers: Mapping[str, str],
    deadline: Deadline,
) -> httpx2.Response:
    is_trusted = remote.trusted is not None and origin_of(url) == origin_of(httpx2.URL(remote.trusted))
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{url.host or 'the server'} leads to {url.scheme or 'nowhere'}, not to https://.")
    if url.scheme == "http" and not (is_trusted or settings.allow_http):
        reason = "is plain HTTP; use https://, or set IMAGEGEN_DOWNLOADS__ALLOW_HTTP=true"
        raise ConfigurationError(f"the download from {url.host} {reason}.")
    # In a compressed body, lengths and offsets would count compressed bytes.
    sent = {"Accept-Encoding": "identity", **headers, **(remote.headers if is_trusted else {})}
    proxy = proxy_for(url) if settings.use_proxy else None
    if proxy is not None and not (is_trusted or settings.allow_private):
        _check_literal_address(url.host)
    if settings.is_of_operator or proxy is not None:  # no name is resolved here: a proxy does so
        request = client.build_request("GET", url, headers=sent, extensions={"trace": deadline.watch})
        return client.send(request, stream=True)
    allow_private = is_trusted or settings.allow_private
    addresses = _allowed_addresses(url.raw_host.decode(), origin_of(url)[2], allow_private=allow_private)
    sent["Host"] = url.netloc.decode()
    for address in addresses:
        # Connect to the checked address, but verify the certificate for the name (httpx2's sni_hostname).
        request = client.build_request(
            "GET",
            url.copy_with(host=address),
            headers=sent,
            extensions={"sni_hostname": url.raw_host.decode(), "trace": deadline.watch},
        )
        try:
            return client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise ConfigurationError(f"the server {url.host} has no address.")


def _check_literal_address(host: str) -> None:
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise _private(host, address)


def _private(host: str, address: str) -> ConfigurationError:
    return ConfigurationError(
        f"the server {host} is at {address}, which is a private address; set IMAGEGEN_DOWNLOADS__ALLOW_PRIVATE=true if "
        "adapters are to be downloaded from there."
    )


def _allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    try:
        return public_addresses(host, port, allow_private=allow_private)
    except OSError:
        reason = "cannot be found; check the name, and that this machine reaches the network"
        raise ConfigurationError(f"the server {host} {reason}.") from None
    except PrivateAddress as error:
        raise _private(host, error.address) from None


def _receive(
    response: httpx2.Response, remote: Remote, file: PartialFile, max_bytes: int, on_progress: OnProgress
) -> None:
    host = response.request.headers["host"]
    hint = f"; {remote.login_hint}" if remote.login_hint else ""
    if response.status_code not in (200, 206):
        sentence = _SENTENCES.get(response.status_code, "does not give the file")
        more = hint if response.status_code in (401, 403) else ""
        message = f"{host} {sentence} (status {response.status_code}){more}."
        if response.status_code == 429 or response.status_code >= 500:
            raise PassingError(message, retry_after_s=_retry_after_s(response))
        raise ConfigurationError(message)
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html":
        raise ConfigurationError(f"{host} sends a web page in place of the file, perhaps to log in{hint}.")
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


def _retry_after_s(response: httpx2.Response) -> int | None:
    asked = response.headers.get("retry-after", "")
    return int(asked) if asked.isdecimal() else None


def _check_size(file: PartialFile, host: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        file.discard()
        raise ConfigurationError(
            f"the file from {host} is larger than the limit of {max_bytes} bytes (IMAGEGEN_DOWNLOADS__MAX_BYTES)."
        )


def origin_of(url: httpx2.URL) -> tuple[str, str, int]:
    """Return the scheme, the host and the port of a URL: what decides whether two URLs are of one server."""
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _broken(host: str, file: PartialFile, error: Exception) -> str:
    if isinstance(error, ProxyError):
        return f"{error}."
    if isinstance(error, httpx2.InvalidURL):
        return f"{host} redirects to something that is not a URL."
    why = "broke off the download"
    if isinstance(error, httpx2.ConnectError):
        why = "cannot be reached; check that this machine reaches the network"
    elif isinstance(error, httpx2.TimeoutException):
        why = "does not answer in time"
    kept = f"; {file.size} bytes are here, and the next attempt goes on from there" if file.resume_headers() else ""
    return f"{host} {why}{kept} ({error})."
