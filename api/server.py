"""The HTTP server: uvicorn, with a drain before its shutdown."""

import logging
import socket
from types import FrameType

import uvicorn

from api.drain import ApiDrain

log = logging.getLogger(__name__)

# How long uvicorn may take to send the last answers after a second signal.
_HURRIED_CLOSE_S = 1


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
