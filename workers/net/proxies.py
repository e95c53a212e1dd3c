"""The proxies that the environment names for requests of the operator: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.

This machine's own addresses are always reached without one. An error names the proxy that was used.
"""

import ipaddress
from ssl import SSLContext
from urllib.request import getproxies_environment

import httpx2

_SCHEMES = ("http", "https", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}


class ProxyError(httpx2.TransportError):
    """What the environment names is no proxy that can be used; the message is a sentence."""


class EnvironmentTransport(httpx2.BaseTransport):
    """Sends each request through the proxy that the environment names for its address, if any."""

    def __init__(self, verify: SSLContext | bool = True) -> None:
        """``verify``: how the certificates of servers are checked, as of httpx2.Client."""
        self._verify = verify
        self._transports: dict[str | None, httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request. Raises httpx2.TransportError, whose message names the proxy that was used."""
        proxy = proxy_for(request.url)
        try:
            return self._transport(proxy).handle_request(request)
        except httpx2.TransportError as error:
            if proxy is None:
                raise
            raise type(error)(f"{error}, through the proxy {without_password(proxy)}") from error

    def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            transport.close()

    def _transport(self, proxy: str | None) -> httpx2.HTTPTransport:
        if proxy not in self._transports:
            self._transports[proxy] = httpx2.HTTPTransport(verify=self._verify, proxy=proxy)
        return self._transports[proxy]


def proxy_for(url: httpx2.URL) -> str | None:
    """Return the address of the proxy for a URL, None if the URL is requested without one. Raises ProxyError."""
    named = getproxies_environment()
    variable = next((name for name in (url.scheme, "all") if named.get(name)), None)
    if variable is None or _is_loopback(url.host) or _is_excluded(url, named.get("no", "")):
        return None
    proxy = named[variable] if "://" in named[variable] else f"http://{named[variable]}"
    try:
        found = httpx2.URL(proxy)
    except httpx2.InvalidURL as error:
        raise ProxyError(f"{variable.upper()}_PROXY is no URL of a proxy: {error}") from error
    if found.scheme not in _SCHEMES or not found.host:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ProxyError(f"{variable.upper()}_PROXY={without_password(proxy)} is no proxy that can be used ({schemes})")
    return proxy


def without_password(proxy: str) -> str:
    """Return a proxy's address as it may be shown and logged."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_excluded(url: httpx2.URL, no_proxy: str) -> bool:
    """Return whether NO_PROXY names the URL's host: a name or what it ends with, an address, a network, or ``*``."""
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_names(entry, url) for entry in entries if entry)


def _names(entry: str, url: httpx2.URL) -> bool:
    host, port = _split_port(entry)
    if port is not None and port != str(url.port or _PORTS.get(url.scheme)):
        return False
    address = _address(url.host)
    if address is not None:
        return host == "*" or _is_in(address, host)
    name = host.removeprefix("*").removeprefix(".")
    return host == "*" or (bool(name) and (url.host == name or url.host.endswith(f".{name}")))


def _split_port(entry: str) -> tuple[str, str | None]:
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":") or None
    host, _, port = entry.rpartition(":")
    return (host, port) if host and ":" not in host and port.isdecimal() else (entry, None)


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
