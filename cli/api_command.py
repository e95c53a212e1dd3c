"""``imagegen api``: the HTTP process."""

import errno
import logging
import os
import socket

import typer

from cli.errors import UserError
from cli.options import (
    ApiKeyFile,
    CacheDir,
    ConfigPath,
    LogFormat,
    LogLevel,
    ModelName,
    ModelPath,
    ModelRepositoryPath,
    RedisUrl,
    RestBindAddress,
    RestPort,
    TargetDevice,
    repository_from,
    settings_from,
)
from config.log_setup import configure_logging
from config.settings import HttpSettings

_logger = logging.getLogger(__name__)

# Longer than clients and proxies keep an idle connection, so that it is they who close it.
_KEEP_ALIVE_S = 75


def api(
    ctx: typer.Context,
    rest_port: RestPort = None,
    rest_bind_address: RestBindAddress = None,
    api_key_file: ApiKeyFile = None,
    model_repository_path: ModelRepositoryPath = None,
    config_path: ConfigPath = None,
    model_path: ModelPath = None,
    model_name: ModelName = None,
    target_device: TargetDevice = None,
    cache_dir: CacheDir = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the HTTP API (needs a Redis, and workers that draw)."""
    settings = settings_from(ctx.params)
    require_redis_url(settings.redis.url, "api")
    repository_from(settings)
    listening = listen(settings.http)

    # Imported here: the worker image has neither, and the other commands should not wait for them.
    import uvicorn

    from api.app import create_app

    configure_logging(settings.log, quiet=("uvicorn.error",))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.http.rest_bind_address,
            port=settings.http.rest_port,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.http.shutdown_timeout_s,
        )
    )
    _logger.info("listening on http://%s:%d", settings.http.rest_bind_address, settings.http.rest_port)
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
    try:
        listening.bind(address)
        # Bound sockets of two processes get along until both listen.
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise UserError(_cannot_listen(where, error)) from error
    return listening


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
