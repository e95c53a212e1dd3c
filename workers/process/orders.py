"""What a worker's main process tells its child, without a word between them: shared memory."""

import mmap
from enum import IntEnum


class Order(IntEnum):
    """How a child is to go on."""

    GO_ON = 0
    TAKE_NO_MORE = 1
    HAND_BACK = 2


class Orders:
    """A page that the children inherit, with the order of the moment on it."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def give(self, order: Order) -> None:
        """Give an order (in the main process)."""
        self._page[0] = order

    def now(self) -> Order:
        """Return the order of the moment (in the child)."""
        return Order(self._page[0])
