"""Where a webhook may lead: checked when a job is submitted, and again before every connection."""

import httpx

from workers.net.public_address import Resolver, is_public, literal_address, public_addresses

_ALLOW = "IMAGEGEN_WEBHOOKS__ALLOW_PRIVATE=true"


class TargetRefused(Exception):
    """A webhook's address may not be used; the message is a sentence."""


def check_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Return the address, as far as it can be judged without resolving its name. Raises TargetRefused."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise TargetRefused(f"A webhook's address must be a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host or not 0 < port_of(url) < 65536:
        raise TargetRefused("A webhook's address must be an https:// URL with a host.")
    if url.scheme == "http" and not allow_private:
        raise TargetRefused(f"A webhook's address must be https://; plain http:// needs {_ALLOW} on the server.")
    address = literal_address(url.host)
    is_local = url.host.rstrip(".") == "localhost" or (address is not None and not is_public(address))
    if is_local and not allow_private:
        raise TargetRefused(f"A webhook may not lead to {url.host}, which is no public address, without {_ALLOW}.")
    return url


def checked_addresses(url: httpx.URL, *, allow_private: bool, resolver: Resolver | None) -> list[str]:
    """Resolve the name of a URL once and return its addresses. Raises PrivateAddress or OSError."""
    return public_addresses(url.raw_host.decode(), port_of(url), allow_private=allow_private, resolver=resolver)


def port_of(url: httpx.URL) -> int:
    """Return the port that a URL leads to."""
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80
