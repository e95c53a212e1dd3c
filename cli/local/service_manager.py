"""Tells a service manager such as systemd what state the service is in.

The protocol is that of sd_notify(3): one datagram of ``NAME=VALUE`` lines to the Unix socket that ``NOTIFY_SOCKET``
names; a name that begins with ``@`` is abstract. Python's packages for it are bindings of libsystemd or abandoned.
"""

import logging
import socket

from config.environment import notify_socket

_logger = logging.getLogger(__name__)


def tell_service_manager(*states: str) -> None:
    """Send states such as ``READY=1``; without a service manager nothing is sent."""
    name = notify_socket()
    if name is None:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.sendto("\n".join(states).encode(), address)
    except OSError as error:
        _logger.warning("the service manager at NOTIFY_SOCKET (%s) takes no message: %s", name, error.strerror)
