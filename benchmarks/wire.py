"""A minimal HTTP client: the server is measured on the same few cores, so the client must cost little."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit


def allow_many_connections(count: int) -> None:
    """Raise the limit of open files for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + 200
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def ask(url: str, body: dict[str, Any] | None = None, method: str = "POST") -> tuple[int, bytes]:
    """Send one request on a connection of its own and return the status and the body."""
    reader, writer = await _open(url, body, method)
    try:
        status = int((await reader.readline()).split()[1])
        _, _, content = (await reader.read()).partition(b"\r\n\r\n")
        return status, content
    finally:
        writer.close()


async def events(url: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a job's server-sent events."""
    reader, writer = await _open(url, None, "GET")
    try:
        while line := await reader.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        writer.close()


async def _open(
    url: str, body: dict[str, Any] | None, method: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    content = b"" if body is None else json.dumps(body).encode()
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    head = f"{method} {path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**24)
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer
