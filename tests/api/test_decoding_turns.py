import asyncio
import threading
from collections.abc import Callable

import pytest

from api.decoding_turns import DecodingTurns
from graphs.errors import QueueFull


class _Decodings:
    """Decodings that last until a test lets them end, and the order in which they began."""

    def __init__(self, max_bytes: int = 100, max_waiting: int = 20) -> None:
        self.turns = DecodingTurns(max_bytes=max_bytes, max_waiting=max_waiting)
        self.began: list[str] = []
        self._ends: dict[str, threading.Event] = {}

    def send(self, name: str, needed_bytes: int = 1, left_bytes: int = 0, until: asyncio.Event | None = None) -> None:
        """Send images of the owner whose name ``name`` begins with; their turn ends with ``until``."""
        self._ends[name] = threading.Event()
        task = asyncio.create_task(self._take_turn(name, needed_bytes, left_bytes, until))
        setattr(self, name, task)

    def task(self, name: str) -> "asyncio.Task[None]":
        found: asyncio.Task[None] = getattr(self, name)
        return found

    async def _take_turn(self, name: str, needed_bytes: int, left_bytes: int, until: asyncio.Event | None) -> None:
        async with self.turns.turn(name[0], needed_bytes) as turn:
            await turn.run(lambda: self._decode(name), lambda result: left_bytes)
            if until is not None:
                await until.wait()

    def _decode(self, name: str) -> None:
        self.began.append(name)
        assert self._ends[name].wait(30)

    def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()

    def end_all(self) -> None:
        self.end(*self._ends)

    async def until_begun(self, *names: str) -> None:
        async with asyncio.timeout(30):
            while len(self.began) < len(names):
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert self.began == list(names)


def _run(scene: "Callable[[_Decodings], object]", **bounds: int) -> None:
    async def play() -> None:
        decodings = _Decodings(**bounds)
        try:
            await scene(decodings)  # type: ignore[misc]
        finally:
            decodings.end_all()
            decodings.turns.close()

    asyncio.run(play())


def test_an_owner_with_twenty_images_delays_another_by_one_decoding_at_most() -> None:
    async def scene(decodings: _Decodings) -> None:
        for number in range(20):
            decodings.send(f"a{number}")
        await decodings.until_begun("a0", "a1")
        decodings.send("b0")
        decodings.end("a1")
        await decodings.until_begun("a0", "a1", "b0")

    _run(scene)


def test_owners_take_turns() -> None:
    async def scene(decodings: _Decodings) -> None:
        for name in ("a0", "a1", "a2", "a3", "b0", "b1", "c0"):
            decodings.send(name)
        began = ["a0", "a1"]
        await decodings.until_begun(*began)
        # Each time the thread of one owner is free, the owner with fewer images in the threads is next.
        for ended, next_one in (("a0", "b0"), ("a1", "c0"), ("b0", "a2"), ("c0", "b1"), ("a2", "a3")):
            decodings.end(ended)
            began.append(next_one)
            await decodings.until_begun(*began)

    _run(scene)


def test_nothing_overtakes_large_images_that_wait_for_memory() -> None:
    async def scene(decodings: _Decodings) -> None:
        decodings.send("a0", 60)
        await decodings.until_begun("a0")
        decodings.send("b0", 90)
        decodings.send("c0", 10)
        await asyncio.sleep(0)
        await decodings.until_begun("a0")
        decodings.end("a0")
        await asyncio.gather(decodings.task("a0"))
        async with asyncio.timeout(30):
            while len(decodings.began) < 3:
                await asyncio.sleep(0)
        assert set(decodings.began[1:]) == {"b0", "c0"}  # both fit now, in two threads

    _run(scene)


def test_what_decoding_left_counts_until_its_turn_ends() -> None:
    async def scene(decodings: _Decodings) -> None:
        stored = asyncio.Event()
        decodings.send("a0", 100, 40, stored)
        await decodings.until_begun("a0")
        decodings.send("b0", 60)
        decodings.end("a0")
        await decodings.until_begun("a0", "b0")
        decodings.send("c0", 60)
        decodings.end("b0")
        await decodings.task("b0")
        await decodings.until_begun("a0", "b0", "c0")
        decodings.send("d0", 60)
        await asyncio.sleep(0)
        assert decodings.began == ["a0", "b0", "c0"]  # 40 are stored and 60 decoded
        stored.set()
        decodings.end("c0")
        await decodings.until_begun("a0", "b0", "c0", "d0")

    _run(scene)


def test_too_many_waiting_images_of_an_owner_are_refused_and_another_owners_are_not() -> None:
    async def scene(decodings: _Decodings) -> None:
        for number in range(5):
            decodings.send(f"a{number}")
        await decodings.until_begun("a0", "a1")
        decodings.send("a5")
        with pytest.raises(QueueFull, match=r"^3 images of this owner wait to be decoded; send this one again later"):
            await decodings.task("a5")
        decodings.send("b0")
        decodings.end("a0")
        await decodings.until_begun("a0", "a1", "b0")

    _run(scene, max_waiting=3)


def test_a_request_that_ends_early_gives_its_turn_back() -> None:
    async def scene(decodings: _Decodings) -> None:
        for name in ("a0", "a1", "b0", "c0"):
            decodings.send(name, 50)
        await decodings.until_begun("a0", "a1")
        decodings.task("b0").cancel()  # it waits
        decodings.task("a0").cancel()  # its thread goes on, and holds its memory until it ends
        await asyncio.wait([decodings.task("b0"), decodings.task("a0")])
        assert decodings.began == ["a0", "a1"]
        decodings.end("a0")
        await decodings.until_begun("a0", "a1", "c0")

    _run(scene)
