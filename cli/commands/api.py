"""``imagegen api``: runs the HTTP API."""

import logging
import signal
from typing import Annotated

import typer

from cli.local.api_address import inherited_socket, listen, shown, warning_of_open_server
from cli.local.data_folder import require_temporary_folder
from cli.local.redis_address import with_redis
from cli.options import repository_from, with_setting_options
from config.log_setup import configure_logging
from config.settings import Settings
from config.stop_signal import OWN_STOP_SIGNAL
from workers.jobs.redis.layout import check_layout_at_start

_logger = logging.getLogger(__name__)

Descriptor = Annotated[
    int | None,
    typer.Option("--fd", help="Listen on the inherited socket with this file descriptor, as systemd passes it."),
]


@with_setting_options
def api(settings: Settings, fd: Descriptor = None) -> None:
    """Run the HTTP API (needs a Redis, and workers that draw)."""
    require_temporary_folder()
    settings = with_redis(settings, "api")
    repository_from(settings)
    check_layout_at_start(settings.redis)
    listening = listen(settings.http) if fd is None else [inherited_socket(fd)]
    # Then the socket outlives this process, and new clients need no Retry-After for the time of a restart.
    address_stays = fd is not None or settings.http.reuse_port
    if address_stays:
        settings = settings.model_copy(update={"http": settings.http.model_copy(update={"restart_s": 0})})

    # Imported here: the worker image has neither, and they would slow down the start of the other commands.
    from api.app import create_app
    from api.server import DrainingServer, raise_file_limit, server_config

    configure_logging(settings.log, quiet=("uvicorn.error",))
    raise_file_limit()
    app = create_app(settings)
    server = DrainingServer(server_config(app, settings), app.state.drain, address_stays=address_stays)
    _logger.info("listening on %s", ", ".join(map(shown, listening)))
    if app.state.keys.current().is_open and (warning := warning_of_open_server(listening)):
        _logger.warning("%s Set --api_key_file, or let it listen on 127.0.0.1.", warning)
    signal.signal(OWN_STOP_SIGNAL, server.handle_exit)
    server.run(sockets=listening)
    if not server.started:
        raise typer.Exit(1)
