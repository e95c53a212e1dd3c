"""A TCP proxy that can be set to cut connections, stall them, drop all data, or lose answers."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 65536


async def _connected_to(backend: int | Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(backend, Path):
        return await asyncio.open_unix_connection(backend)
    return await asyncio.open_connection("127.0.0.1", backend)


class _Link:
    """One connection through the proxy: the client's end and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = (client, server)
        self.silent = False

    def cut(self) -> None:
        """Reset both ends."""
        for end in self._ends:
            _reset(end)


class Proxy:
    """Listens on ``port`` and passes all on to the next backend (a port or a Unix socket) that takes connections."""

    def __init__(self, *backends: int | Path) -> None:
        self._backends: Iterator[int | Path] = itertools.cycle(backends)
        self._tries = len(backends)
        self._links: set[_Link] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._to_lose = 0
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Take no more connections and end those there are."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()
        # The event loop closes their sockets in its next rounds.
        await asyncio.sleep(0.1)

    async def cut(self, seconds: float) -> None:
        """Reset every connection, and each new one for that long."""
        self._refusing = True
        self._cut_links()
        await asyncio.sleep(seconds)
        self._refusing = False

    async def stall(self, seconds: float) -> None:
        """Hold everything back for that long; nothing is lost."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    def silence(self) -> None:
        """Let the present connections stay open and never say anything again."""
        for link in self._links:
            link.silent = True

    def lose_answers(self, times: int) -> None:
        """Drop the next answers; the connection of each is reset."""
        self._to_lose += times

    @property
    def answers_to_lose(self) -> int:
        return self._to_lose

    def _cut_links(self) -> None:
        for link in list(self._links):
            link.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = None if self._refusing else await self._connected()
        if found is None:
            _reset(writer)
            self._close(writer)
            return
        answers, requests = found
        self._ends.add(requests)
        link = _Link(writer, requests)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, reader, requests, is_answer=False)),
            asyncio.create_task(self._pump(link, answers, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._close(writer, requests)

    def _close(self, *ends: asyncio.StreamWriter) -> None:
        for end in ends:
            end.close()
            self._ends.discard(end)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(self._tries):
            try:
                return await _connected_to(next(self._backends))
            except OSError:
                continue
        return None

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        """Pass on until either end is gone."""
        try:
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                if link.silent:
                    continue
                if is_answer and self._to_lose > 0:
                    self._to_lose -= 1
                    link.cut()
                    return
                target.write(data)
                await target.drain()
        except OSError:
            return
        if link.silent:  # neither end learns that the other one has closed
            await asyncio.get_running_loop().create_future()  # until the link is cut


def _reset(end: asyncio.StreamWriter) -> None:
    """End the connection with a TCP reset, as after the death of a peer, and not with an orderly close."""
    if not end.transport.is_closing():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
