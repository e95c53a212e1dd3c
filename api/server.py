"""The HTTP server: uvicorn, with a drain before its shutdown."""

import logging
import resource
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.drain import ApiDrain
from api.http.bounded_protocol import protocol_of
from config.settings import Settings

log = logging.getLogger(__name__)

# How long uvicorn may take to send the last answers after a second signal.
_HURRIED_CLOSE_S = 1
# Longer than clients and proxies keep an idle connection, so that they close it and no request meets a closed one.
_KEEP_ALIVE_S = 75
# How long sending the last answers may take, after requests have waited as long as they may.
_CLOSE_S = 5


def raise_file_limit() -> None:
    """Let this process open as many files, and so connections, as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves the application: with its bounds of connections."""
    return uvicorn.Config(
        app,
        host=settings.http.rest_bind_address,
        port=settings.http.rest_port,
        http=protocol_of(app.state.connections),
        ws="none",
        h11_max_incomplete_event_size=settings.connections.max_header_bytes,
        forwarded_allow_ips=settings.connections.trusted_proxies,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_CLOSE_S,
    )


class DrainingServer(uvicorn.Server):
    """A uvicorn server that answers the requests it has before it closes; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: ApiDrain, *, address_stays: bool = False) -> None:
        """``address_stays``: the port or socket outlives this process, so it stops listening before it drains."""
        super().__init__(config)
        self._drain = drain
        self._address_stays = address_stays
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal. uvicorn would raise it again at the end; this process is to exit with code 0."""
        self._signals += 1
        self.should_exit = True
        self.force_exit = self._signals > 2
        self._drain.begin()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close all connections."""
        log.info("shutting down: answering the requests that wait; a second signal ends the process at once")
        if self._address_stays:
            # SO_REUSEPORT: connections in this backlog are reset; the client's retry reaches another process.
            for server in self.servers:
                server.close()
            for listening in sockets or []:
                listening.close()
        if left := await self._drain.run(hurry=lambda: self._signals > 1):
            log.warning("%d requests were not answered in time; their jobs go on, and a retry joins them", left)
        if self._signals > 1:
            self.config.timeout_graceful_shutdown = _HURRIED_CLOSE_S
        await super().shutdown(sockets)
