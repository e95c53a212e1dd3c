"""Where the API listens: its socket, and the URL under which this machine reaches it."""

import errno
import ipaddress
import os
import socket

from cli.errors import UserError
from config.http_settings import HttpSettings

_BACKLOG = 2048


def base_url(http: HttpSettings) -> str:
    """Return the URL under which this machine reaches the API, without a slash at its end."""
    host = http.rest_bind_address
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{http.rest_port}"
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"http://{f'[{host}]' if address.version == 6 else host}:{http.rest_port}"


def listen(http: HttpSettings) -> socket.socket:
    """Return a listening TCP socket at the API's address, on which nothing is accepted yet. Raises UserError."""
    where = f"{http.rest_bind_address}:{http.rest_port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            http.rest_bind_address, http.rest_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"cannot listen on {where}: --rest_bind_address is not an address of here.") from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if http.reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind(address)
        # With SO_REUSEADDR two processes can bind one address; the second one fails only when it listens.
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(_cannot_listen(where, error)) from error
    return listening


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


def open_to_others(host: str) -> str:
    """Return the sentence about an API without keys at an address that other machines reach."""
    return f"The API listens on {host} and needs no key: everyone who reaches it may use it."


def warning_of_open_server(listening: socket.socket) -> str | None:
    """Return the sentence about an API without keys on this socket; None where only this machine reaches it."""
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host = str(listening.getsockname()[0])
    return None if is_loopback(host) else open_to_others(host)
