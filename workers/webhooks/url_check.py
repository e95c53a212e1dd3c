"""Which URLs a webhook may have. They are checked when a job is submitted, and again before every connection."""

import httpx2

from workers.net.public_address import PrivateAddress, Resolver, is_public, literal_address, public_addresses

_ALLOW = "IMAGEGEN_WEBHOOKS__ALLOW_PRIVATE=true"


class UrlRefused(Exception):
    """A webhook's URL may not be used; the message is a sentence."""


def check_url(text: str, *, allow_private: bool) -> httpx2.URL:
    """Parse a webhook's URL and check all that can be checked without resolving its host name.

    It must be https:// and its host no private address, unless ``allow_private``. Raises UrlRefused.
    """
    try:
        url = httpx2.URL(text)
        url.raw_host.decode().encode("idna")  # as the system's resolver encodes it
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise UrlRefused(f"A webhook's address must be a URL: {error}.") from error
    host = url.host  # decodes the labels that begin with xn--, or leaves them where one cannot be decoded
    if any(label.startswith("xn--") for label in host.split(".")):
        raise UrlRefused(f"A webhook's address must be a URL: {host} is no name in punycode.")
    if url.scheme not in ("http", "https") or not host or not 0 < _port(url) < 65536:
        raise UrlRefused("A webhook's address must be an https:// URL with a host.")
    if url.scheme == "http" and not allow_private:
        raise UrlRefused(f"A webhook's address must be https://; plain http:// needs {_ALLOW} on the server.")
    address = literal_address(host)
    is_local = host.rstrip(".") == "localhost" or (address is not None and not is_public(address))
    if is_local and not allow_private:
        raise UrlRefused(f"A webhook may not lead to {host}, which is no public address, without {_ALLOW}.")
    return url


def resolve_url(url: httpx2.URL, *, allow_private: bool, resolver: Resolver | None) -> list[str]:
    """Resolve the host name of a checked URL and return its addresses; ``resolver`` of None is the system's.

    Connect to one of these: a second resolution could return others. Raises UrlRefused where any of them is private,
    unless ``allow_private``, and OSError where there is none.
    """
    try:
        return public_addresses(url.raw_host.decode(), _port(url), allow_private=allow_private, resolver=resolver)
    except PrivateAddress as error:
        raise UrlRefused(str(error)) from error


def _port(url: httpx2.URL) -> int:
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80
