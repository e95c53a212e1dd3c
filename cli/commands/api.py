"""``imagegen api``: the HTTP process."""

import errno
import logging
import os
import socket
from typing import Annotated

import typer

from cli.errors import UserError
from cli.options import repository_from, with_setting_options
from config.log_setup import configure_logging
from config.settings import HttpSettings, Settings
from workers.jobs.redis.layout import check_layout_at_start

_logger = logging.getLogger(__name__)

# Longer than clients and proxies keep an idle connection, so that it is they who close it.
_KEEP_ALIVE_S = 75
# What the last answers may take to leave, after the time to wait for jobs is up.
_CLOSE_S = 5

Descriptor = Annotated[
    int | None,
    typer.Option("--fd", help="Listen on the inherited socket with this file descriptor, as systemd passes it."),
]


@with_setting_options
def api(settings: Settings, fd: Descriptor = None) -> None:
    """Run the HTTP API (needs a Redis, and workers that draw)."""
    require_redis_url(settings.redis.url, "api")
    repository_from(settings)
    check_layout_at_start(settings.redis)
    listening = listen(settings.http) if fd is None else inherited(fd)
    # Who comes while this process ends waits in a queue that lives on, or gets to another process.
    address_stays = fd is not None or settings.http.reuse_port
    if address_stays:
        settings = settings.model_copy(update={"http": settings.http.model_copy(update={"restart_s": 0})})

    # Imported here: the worker image has neither, and the other commands should not wait for them.
    import uvicorn

    from api.app import create_app
    from api.server import DrainingServer

    configure_logging(settings.log, quiet=("uvicorn.error",))
    app = create_app(settings)
    server = DrainingServer(
        uvicorn.Config(
            app,
            host=settings.http.rest_bind_address,
            port=settings.http.rest_port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_S,
        ),
        app.state.drain,
        address_stays=address_stays,
    )
    _logger.info("listening on http://%s:%d", *listening.getsockname()[:2])
    server.run(sockets=[listening])
    if not server.started:
        raise typer.Exit(1)


def listen(http: HttpSettings) -> socket.socket:
    """Return a TCP socket bound to the API's address, not yet accepting. Raises UserError if it cannot be."""
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
        # Bound sockets of two processes get along until both listen.
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise UserError(_cannot_listen(where, error)) from error
    return listening


def inherited(descriptor: int) -> socket.socket:
    """Return the listening socket with this descriptor, as systemd (3) and others hand it over. Raises UserError."""
    try:
        found = socket.socket(fileno=descriptor)
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UserError(f"--fd {descriptor} is a socket that does not listen.")
    except OSError as error:
        raise UserError(f"--fd {descriptor} is not a socket: {os.strerror(error.errno or 0)}.") from error
    return found


def require_redis_url(url: str | None, command: str) -> None:
    """Raise UserError where no Redis is set."""
    if not url:
        raise UserError(
            f"imagegen {command} needs a Redis: set REDIS_URL or give --redis_url, "
            "or start everything with `imagegen serve`."
        )


def _cannot_listen(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {where.rpartition(':')[2]} is in use on {where}; give another with --rest_port."
    return f"cannot listen on {where}: {os.strerror(error.errno or 0)}."
