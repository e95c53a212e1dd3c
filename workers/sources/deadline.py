"""The end of a download's time: its connections are shut down at any point of their work."""

import socket
import threading
from typing import Any, Self


class Deadline:
    """Shuts the connections down after so many seconds; a time limit of each read alone lets a server send for ever."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.is_over = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, event: str, info: dict[str, Any]) -> None:
        """Take note of a new connection; the callback of httpcore2's extension "trace"."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            connection: socket.socket = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.append(connection)
                if self.is_over:
                    _shut_down(connection)

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for connection in self._sockets:
                _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        return
