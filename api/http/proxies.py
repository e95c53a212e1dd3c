"""Whose ``X-Forwarded-*`` headers are believed, and the path below which a proxy serves this API."""

import contextlib
import ipaddress
import logging
import re
from collections.abc import Iterator
from functools import cache

from starlette.types import Scope

log = logging.getLogger(__name__)

_HEADER = b"x-forwarded-prefix"
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
_LONGEST = 200
# A client with IPv6 has at least so many leading bits of an address to itself.
_IPV6_PREFIX = 64


class TrustedProxies:
    """The addresses whose ``X-Forwarded-*`` headers are believed."""

    def __init__(self, text: str) -> None:
        """``text``: addresses and networks separated by commas, or ``*``. A name that is none of these is ignored."""
        self._all = text.strip() == "*"
        self._networks = []
        for part in text.split(","):
            with contextlib.suppress(ValueError):
                self._networks.append(ipaddress.ip_network(part.strip(), strict=False))

    def __contains__(self, address: str) -> bool:
        return self._all or any(parsed in network for parsed in parsed_address(address) for network in self._networks)


def parsed_address(address: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Yield the address, IPv4 where it is IPv4 inside of IPv6; nothing for what is no address."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        yield getattr(parsed, "ipv4_mapped", None) or parsed


def plain_address(address: str) -> str:
    """Return the address, IPv4 where it is IPv4 inside of IPv6; what is no address as it is."""
    return next((str(parsed) for parsed in parsed_address(address)), address)


def counted_as(address: str) -> str:
    """Return the name under which a client's address is counted: itself, or the network of an IPv6 client."""
    for parsed in parsed_address(address):
        if parsed.version == 4:
            return str(parsed)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return address[:64]


def forwarded_prefix(scope: Scope) -> str:
    """Return the path below which a trusted proxy serves this API, such as ``/images-api``; an empty text for none.

    It is that of X-Forwarded-Prefix, which proxies send that take the path away from the request (Traefik's
    StripPrefix, Spring Cloud Gateway). One that is no plain path is not used.
    """
    if not scope.get("state", {}).get("is_from_proxy", False):
        return ""
    sent = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == _HEADER]
    prefix = sent[0].rstrip("/") if sent else ""
    if not prefix:
        return ""
    is_plain = _PATH.fullmatch(prefix) and not {".", ".."} & set(prefix.split("/"))
    if len(sent) > 1 or len(prefix) > _LONGEST or not is_plain:
        _say_unusable()
        return ""
    return prefix


def path_here(scope: Scope) -> str:
    """Return a request's path without the one below which a proxy serves this API (``root_path`` in ASGI)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


@cache
def _say_unusable() -> None:
    """Log once that a header is not used: each request may have it."""
    log.warning("X-Forwarded-Prefix is not used: it must be one path of letters, digits, '.', '_', '~' and '-'")
