"""The proxy disturbs connections as it is set to, and leaves no socket open."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.proxy import Proxy

Act = Callable[[Proxy, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _with_proxy(act: Act) -> None:
    """Do something through a proxy before a server that says everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            proxy = Proxy(server.sockets[0].getsockname()[1])
            await proxy.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            try:
                await _says(reader, writer)
                await act(proxy, reader, writer)
            finally:
                writer.transport.abort()
                await proxy.stop()

    asyncio.run(run())


async def _says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"x")
    assert await asyncio.wait_for(reader.readexactly(1), 30) == b"x"


def test_what_is_cut_is_reset() -> None:
    async def act(proxy: Proxy, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await proxy.cut(0)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 30)

    _with_proxy(act)


def test_what_is_held_back_comes_later() -> None:
    async def act(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stalling = asyncio.create_task(proxy.stall(0.2))
        await asyncio.sleep(0)
        writer.write(b"y")
        answer = asyncio.create_task(reader.readexactly(1))
        await stalling
        assert await asyncio.wait_for(answer, 30) == b"y"

    _with_proxy(act)


def test_a_silent_connection_stays_open_and_others_work() -> None:
    async def act(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.silence()
        writer.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        fresh = await asyncio.open_connection("127.0.0.1", proxy.port)
        await _says(*fresh)
        fresh[1].transport.abort()

    _with_proxy(act)


def test_a_lost_answer_ends_its_connection() -> None:
    async def act(proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.lose_answers(1)
        writer.write(b"y")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 30)
        assert proxy.answers_to_lose == 0

    _with_proxy(act)
