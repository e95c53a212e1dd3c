"""Which addresses a download may connect to: not this machine's own network, unless that is allowed."""

import ipaddress
import socket

from graphs.errors import ConfigurationError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Resolve a name and return its addresses, all of which may be connected to.

    The caller must connect to one of these and not resolve again: a second answer could differ from the checked one.
    Raises ConfigurationError where there is none, or where any is private and that is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        reason = "cannot be found; check the name, and that this machine reaches the network"
        raise ConfigurationError(f"the server {host} {reason}.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        reason = (
            f"is at {private[0]}, which is a private address; set IMAGEGEN_DOWNLOADS__ALLOW_PRIVATE=true if "
            "adapters are to be downloaded from there"
        )
        raise ConfigurationError(f"the server {host} {reason}.")
    return addresses


def is_public(text: str) -> bool:
    """Tell whether an address belongs to a host on the internet: not loopback, private, link-local, multicast..."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _carried(address) or address
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4 or NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
