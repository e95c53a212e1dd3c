"""Whose ``X-Forwarded-*`` headers are believed."""

import contextlib
import ipaddress
from collections.abc import Iterator


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
