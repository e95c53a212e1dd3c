"""Where the API listens: its sockets, and the URLs under which this machine reaches it."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cli.errors import UserError
from config.http_settings import HttpSettings

_BACKLOG = 2048
# What a name may have that this machine lacks: an address of IPv6 where that is switched off.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def url_of(host: str, port: int) -> str:
    """Return the URL of an address or name; IPv6 has brackets there (RFC 3986), and its zone %25 (RFC 6874)."""
    return f"http://{_with_port(host.replace('%', '%25'), port)}"


def base_url(http: HttpSettings) -> str:
    """Return the URL under which this machine reaches the API, without a slash at its end."""
    return urls(http)[0]


def urls(http: HttpSettings) -> list[str]:
    """Return the URL of each address that the API listens on; that of this machine, for all of its addresses.

    Those that only this machine reaches come first.
    """
    hosts = [_reachable(host) for host in http.bind_addresses]
    return [url_of(host, http.rest_port) for host in dict.fromkeys(sorted(hosts, key=lambda h: not is_loopback(h)))]


def listen(http: HttpSettings) -> list[socket.socket]:
    """Return listening TCP sockets at the API's addresses, on which nothing is accepted yet. Raises UserError.

    ``::`` takes IPv4 too, unless an address of IPv4 is given beside it. Of a name, each address is taken.
    """
    found = _resolved(http)
    versions = {address.family for address in found}
    all_of = {address.family for address in found if address.is_all}
    listening: list[socket.socket] = []
    try:
        for address in found:
            if address.is_all or address.family not in all_of:
                listening += _listen_at(address, http, takes_ipv4=socket.AF_INET not in versions)
        if not listening:
            raise UserError(
                f"cannot listen on {http.rest_bind_address}: --rest_bind_address is not an address of here."
            )
    except BaseException:
        close(listening)
        raise
    return listening


def close(listening: Iterable[socket.socket]) -> None:
    """Close sockets."""
    for one in listening:
        one.close()


def shown(listening: socket.socket) -> str:
    """Return where a socket listens, for a log: a URL if it is a TCP socket."""
    name = listening.getsockname()
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return str(name)
    return url_of(*name[:2]) + (" (IPv4 too)" if _takes_ipv4(listening) else "")


@dataclass(frozen=True)
class _Address:
    """An address to listen on, as the resolver returns it; of a name, several may be returned."""

    family: socket.AddressFamily
    place: Any
    is_of_name: bool

    @property
    def is_all(self) -> bool:
        """Whether it stands for all addresses of its version."""
        return _is_all(str(self.place[0]))


def _resolved(http: HttpSettings) -> list[_Address]:
    found: dict[_Address, None] = {}
    for host in http.bind_addresses:
        where = _with_port(host, http.rest_port)
        try:
            answers = socket.getaddrinfo(host, http.rest_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (socket.gaierror, UnicodeError) as error:
            raise UserError(f"cannot listen on {where}: --rest_bind_address is not an address of here.") from error
        is_name = not _is_address(host)
        found |= {_Address(socket.AddressFamily(family), place, is_name): None for family, _, _, _, place in answers}
    return list(found)


def _listen_at(address: _Address, http: HttpSettings, *, takes_ipv4: bool) -> list[socket.socket]:
    """Return the socket of an address; none for a name's address that this machine lacks."""
    where = _with_port(address.place[0], http.rest_port)
    listening = None
    try:
        listening = socket.socket(address.family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if http.reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6 and address.is_all:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not takes_ipv4))
        listening.bind(address.place)
        # With SO_REUSEADDR two processes can bind one address; the second one fails only when it listens.
        listening.listen(_BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        if address.is_of_name and error.errno in _NOT_HERE:
            return []
        raise UserError(_cannot_listen(where, error)) from error
    return [listening]


def inherited_socket(descriptor: int) -> socket.socket:
    """Return the listening socket with this file descriptor, as systemd passes one. Raises UserError."""
    try:
        found = socket.socket(fileno=descriptor)
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UserError(f"--fd {descriptor} is a socket that does not listen.")
    except OSError as error:
        raise UserError(f"--fd {descriptor} is not a socket: {os.strerror(error.errno or 0)}.") from error
    return found


def _cannot_listen(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {where.rpartition(':')[2]} is in use on {where}; give another with --rest_port."
    return f"cannot listen on {where}: {os.strerror(error.errno or 0)}."


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address; of names, only localhost counts as such."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def open_to_others(hosts: Iterable[str]) -> str | None:
    """Return the sentence about an API without keys at these addresses; None where only this machine reaches them."""
    others = [host for host in hosts if not is_loopback(host)]
    if not others:
        return None
    return f"The API listens on {', '.join(others)} and needs no key: everyone who reaches it may use it."


def warning_of_open_server(listening: Iterable[socket.socket]) -> str | None:
    """Return the sentence about an API without keys on these sockets; None where only this machine reaches them."""
    reached = [one for one in listening if one.family in (socket.AF_INET, socket.AF_INET6)]
    return open_to_others(str(one.getsockname()[0]) for one in reached)


def _reachable(host: str) -> str:
    """Return an address under which this machine reaches itself, for one that stands for all; else the same."""
    if not _is_all(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def _is_all(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _takes_ipv4(listening: socket.socket) -> bool:
    is_all = listening.family == socket.AF_INET6 and _is_all(listening.getsockname()[0])
    return is_all and not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
