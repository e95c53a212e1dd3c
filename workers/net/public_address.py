"""Which addresses a URL from a client may lead to: hosts on the internet, not this machine's own network.

The caller must connect to one of the addresses that ``public_addresses`` returns, without resolving the name again: a
second answer could differ from the checked one (DNS rebinding).
"""

import ipaddress
import socket
from collections.abc import Callable

Resolver = Callable[[str, int], list[str]]
"""Returns all addresses of a name and a port; raises OSError where there is none."""

# All public IPv6 addresses are in this range, except those that carry an IPv4 address.
_IPV6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Reserved by IANA as well, but not in the tables of every version of ``ipaddress``.
_SPECIAL = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")
)


class PrivateAddress(Exception):
    """A name resolves to an address that is not public."""

    def __init__(self, host: str, address: str) -> None:
        self.host = host
        self.address = address
        super().__init__(f"{host} is at {address}, which is no public address")


def public_addresses(host: str, port: int, *, allow_private: bool, resolver: Resolver | None = None) -> list[str]:
    """Resolve a name once and return its addresses. ``host`` is an ASCII name, or an address without brackets.

    Raises PrivateAddress where any of them is not public, unless ``allow_private``, and OSError where there is none.
    """
    addresses = (resolver or resolve)(host, port)
    if not addresses:
        raise OSError(f"{host} has no address")
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise PrivateAddress(host, private[0])
    return addresses


def resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a name from the system's resolver. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        raise OSError(f"{host} cannot be found") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Return whether an address is public: not loopback, private, shared, link-local, multicast or reserved."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        carried = _carried(address)
        if carried is None and address not in _IPV6_GLOBAL:
            return False
        address = carried or address
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def literal_address(host: str) -> str | None:
    """Return the address that a URL's host denotes, or None for a name; 127.1 and 0x7f000001 are addresses too."""
    plain = host.rstrip(".")
    try:
        return str(ipaddress.ip_address(plain.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(plain))
    except (OSError, UnicodeError):
        return None


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4 or NAT64 address; None for any other."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
