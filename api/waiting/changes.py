"""Reads a stream of jobs that changed, in the background."""

import asyncio
import logging
from collections.abc import Callable

from graphs.errors import ServiceUnavailable
from workers.jobs.events import Change, EventReader

log = logging.getLogger(__name__)

_RECONNECT_S = 0.5
_STOP_AGAIN_S = 0.2


class Changes:
    """A task that calls ``on_change`` for each new entry of a stream."""

    def __init__(self, reader: EventReader, on_change: Callable[[Change], None]) -> None:
        self._reader = reader
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self._has_begun = asyncio.Event()
        self._misses_none = False

    @property
    def misses_none(self) -> bool:
        """Whether the stream is read from a place on; while Redis is away, what comes meanwhile is read later."""
        return self._misses_none

    def start(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Read from the present end of the stream on, until ``goes_on`` returns False, unless the task runs already."""
        if self._task is None or self._task.done():
            self._has_begun.clear()
            self._task = asyncio.create_task(self._read(goes_on), name="changes")

    async def begun(self) -> None:
        """Return once no later entry is missed, or Redis could not be reached."""
        await self._has_begun.wait()

    async def stop(self) -> None:
        """Stop reading."""
        while self._task is not None and not self._task.done():
            # Repeated, because redis-py swallows a cancellation that arrives while it connects.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_STOP_AGAIN_S)
        await self._reader.close()

    async def _read(self, goes_on: Callable[[], bool]) -> None:
        try:
            while goes_on():
                try:
                    if not self._misses_none:
                        await self._reader.start()
                        self._misses_none = True
                    self._has_begun.set()
                    async for change in self._reader.read():
                        self._on_change(change)
                except ServiceUnavailable as error:
                    self._has_begun.set()
                    log.warning("%s; requests that wait for a job keep waiting", error)
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            self._misses_none = False
            self._has_begun.set()
