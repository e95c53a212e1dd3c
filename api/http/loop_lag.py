"""Measures how late the event loop runs: while it is held, no client is answered."""

import asyncio
from collections.abc import Callable

_EVERY_S = 0.5


async def watch_lag(observe: Callable[[float], object]) -> None:
    """Call ``observe`` twice a second with the seconds by which this coroutine was woken too late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        observe(max(0.0, loop.time() - due))
