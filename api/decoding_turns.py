"""Shares the decoding of input images among owners: a few at a time, in turn, and within a bound of memory."""

import asyncio
import ctypes
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from graphs.errors import QueueFull

Result = TypeVar("Result")

_THREADS = 2
_RETRY_AFTER_S = 5
# Of glibc's mallopt(3). Left alone, malloc raises the threshold to the size of Pillow's blocks as they are freed, and
# then keeps hundreds of megabytes of them.
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 4 * 2**20


@dataclass
class _Entry:
    """Images of an owner that wait for their turn or have it."""

    owner: str
    needed_bytes: int
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Turn:
    """The right to decode the images of one request."""

    def __init__(self, turns: "DecodingTurns", entry: _Entry) -> None:
        self._turns = turns
        self._entry = entry
        self._work: asyncio.Future[Any] | None = None
        self._is_decoding = True

    async def run(self, work: Callable[[], Result], encoded_bytes: Callable[[Result], int]) -> Result:
        """Run ``work`` in a thread and return its result, of which so many bytes are held until the turn ends.

        The next images are decoded from here on. Raises what ``work`` raises.
        """
        self._work = future = asyncio.get_running_loop().run_in_executor(self._turns.pool, work)
        result = await asyncio.shield(future)
        self._decoded(encoded_bytes(result))
        return result

    def end(self) -> None:
        """Give back what is still held; where the work goes on in its thread, as soon as that ends."""
        if self._work is not None and not self._work.done():
            self._work.add_done_callback(lambda work: self._end(work.cancelled() or work.exception()))
        else:
            self._end(None)

    def _end(self, _: object) -> None:
        if self._is_decoding:
            self._decoded(0)
        self._turns.give_back(self._entry.needed_bytes)

    def _decoded(self, left_bytes: int) -> None:
        self._is_decoding = False
        freed = self._entry.needed_bytes - left_bytes
        self._entry.needed_bytes = left_bytes
        self._turns.decoded(self._entry.owner, freed)


class DecodingTurns:
    """Decides whose images are decoded next.

    An owner with fewer images in the threads goes first, and among equals the one whose last turn is longest ago.
    Nothing overtakes what is first, even if that waits for memory: so an owner with many images delays the image of
    another by one decoding at most, and large images do not wait for ever. All methods run on the event loop.
    """

    def __init__(self, *, max_bytes: int, max_waiting: int) -> None:
        """``max_bytes`` is the memory of all turns; ``max_waiting`` the number of an owner's images that may wait."""
        _return_freed_memory()
        # A pool of its own, so that a Redis that does not answer cannot occupy its threads.
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        self.max_bytes = max_bytes
        self._free_threads = _THREADS
        self._free_bytes = max_bytes
        self._max_waiting = max_waiting
        self._waiting: dict[str, deque[_Entry]] = {}
        self._decoding: Counter[str] = Counter()
        self._begun = 0
        self._last_begun: dict[str, int] = {}  # of each owner; there are no more owners than API keys

    def close(self) -> None:
        """Stop the threads."""
        self.pool.shutdown(wait=False)

    @asynccontextmanager
    async def turn(self, owner: str, needed_bytes: int) -> AsyncIterator[Turn]:
        """Wait for a turn, and give it back at the end of the block.

        ``needed_bytes`` is the memory that decoding takes at most, and not more than all turns may have.
        Raises QueueFull where too many images of the owner wait.
        """
        turn = Turn(self, await self._granted(owner, needed_bytes))
        try:
            yield turn
        finally:
            turn.end()

    def decoded(self, owner: str, freed_bytes: int) -> None:
        """Take back a thread of the owner, and so much memory."""
        self._free_threads += 1
        self._decoding[owner] -= 1
        if not self._decoding[owner]:
            del self._decoding[owner]
        self.give_back(freed_bytes)

    def give_back(self, freed_bytes: int) -> None:
        """Take back so much memory, and begin what fits now."""
        self._free_bytes += freed_bytes
        self._begin_what_fits()

    async def _granted(self, owner: str, needed_bytes: int) -> _Entry:
        queue = self._waiting.setdefault(owner, deque())
        if len(queue) >= self._max_waiting:
            raise QueueFull(
                f"{self._max_waiting} images of this owner wait to be decoded; send this one again later.",
                retry_after_s=_RETRY_AFTER_S,
            )
        entry = _Entry(owner, needed_bytes)
        queue.append(entry)
        self._begin_what_fits()
        try:
            await entry.granted.wait()
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise
        return entry

    def _withdraw(self, entry: _Entry) -> None:
        """Undo the wait of a request that ended before its turn began, or just after it."""
        if entry.granted.is_set():
            self.decoded(entry.owner, entry.needed_bytes)
        else:
            self._remove(entry)
            self._begin_what_fits()

    def _begin_what_fits(self) -> None:
        while self._waiting and self._free_threads:
            entry = min((queue[0] for queue in self._waiting.values()), key=self._rank)
            if entry.needed_bytes > self._free_bytes:
                return
            self._remove(entry)
            self._free_threads -= 1
            self._free_bytes -= entry.needed_bytes
            self._decoding[entry.owner] += 1
            self._begun += 1
            self._last_begun[entry.owner] = self._begun
            entry.granted.set()

    def _rank(self, entry: _Entry) -> tuple[int, int]:
        return self._decoding[entry.owner], self._last_begun.get(entry.owner, 0)

    def _remove(self, entry: _Entry) -> None:
        queue = self._waiting[entry.owner]
        queue.remove(entry)
        if not queue:
            del self._waiting[entry.owner]


def _return_freed_memory() -> None:
    """Make malloc give the pixels of an image back to the system when they are freed; other C libraries do anyway."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
