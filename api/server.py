"""The HTTP server: uvicorn, which drains before it goes."""

import logging
import socket
from types import FrameType

import uvicorn

from api.drain import Drain

log = logging.getLogger(__name__)

# What the last answers may take to leave when nobody wants to wait.
_HURRIED_CLOSE_S = 1


class DrainingServer(uvicorn.Server):
    """A uvicorn server that answers those who wait before it closes anything; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain, *, address_stays: bool = False) -> None:
        """``address_stays``: others listen on the same port or socket, so this one must not while it drains."""
        super().__init__(config)
        self._drain, self._address_stays = drain, address_stays
        self._times_told = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Not uvicorn's way, which raises it again at the end: an orderly end has the code 0."""
        self._times_told += 1
        self.should_exit = True
        self.force_exit = self._times_told > 2
        self._drain.begin()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close connections and let go of everything."""
        log.info("shutting down: answering those who wait; a second signal does not wait for them")
        if self._address_stays:
            # With a port of many, who was about to be accepted here is reset, and its retry reaches another process.
            for server in self.servers:
                server.close()
            for listening in sockets or []:
                listening.close()
        if left := await self._drain.run(hurry=lambda: self._times_told > 1):
            log.warning("%d requests were not answered in time; their jobs go on, and a retry finds them", left)
        if self._times_told > 1:
            self.config.timeout_graceful_shutdown = _HURRIED_CLOSE_S
        await super().shutdown(sockets)
