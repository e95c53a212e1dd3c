"""Wrong API keys: counted, and answered later and later to the address that sends them.

A right key is compared first and never waits. A wrong one waits on the event loop without holding it. The waiting
requests, and the addresses that are remembered, are bounded: beyond the bound a wrong key is refused at once, with its
connection. So this costs a client that guesses a connection and time, and the server next to nothing; that a key
cannot be guessed is due to its length.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum

from api.http.proxies import counted_as
from graphs.errors import AuthenticationFailed

log = logging.getLogger(__name__)

# So many wrong keys of an address are answered at once; each further one doubles the wait.
_AT_ONCE = 10
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 4.0
# An address's wrong keys are forgotten, one after so many seconds. It has no more than so many to be forgotten.
_FORGOTTEN_AFTER_S = 6.0
_COUNTED_AT_MOST = 40
_WAITING_PER_ADDRESS = 16
_ADDRESSES = 10_000
_LOG_EVERY_S = 60.0


class TooManyWrongKeys(AuthenticationFailed):
    """This API key is not known here, and too many wrong ones come from your address."""

    code = "too_many_wrong_keys"
    retry_after_s = 30


class WrongKeyAnswer(StrEnum):
    """How a wrong key was answered."""

    AT_ONCE = "at_once"
    SLOWED = "slowed"
    REFUSED = "refused"


class WrongKeys:
    """The wrong keys that each address has sent to this process lately. All methods run on the event loop."""

    def __init__(self, most_waiting: int, count: Callable[[WrongKeyAnswer], object]) -> None:
        """``most_waiting``: how many requests may wait in all; ``count`` counts each wrong key."""
        self._most_waiting = most_waiting
        self._count = count
        # By address, the least recent first: how many wrong keys are not forgotten, and when that was counted.
        self._sent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._since_log = 0
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._sent)

    async def slow_down(self, address: str) -> None:
        """Count a wrong key of an address, and wait as long as its earlier ones make it. Raises TooManyWrongKeys."""
        client = counted_as(address)
        wait_s = wait_after(self._sent_with_this(client))
        self._log(client)
        if not wait_s:
            self._count(WrongKeyAnswer.AT_ONCE)
        elif self._waiting[client] >= _WAITING_PER_ADDRESS or self._waiting.total() >= self._most_waiting:
            self._count(WrongKeyAnswer.REFUSED)
            raise TooManyWrongKeys
        else:
            self._count(WrongKeyAnswer.SLOWED)
            await self._wait(client, wait_s)

    async def _wait(self, client: str, seconds: float) -> None:
        self._waiting[client] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]

    def _sent_with_this(self, client: str) -> float:
        now = time.monotonic()
        sent, counted_at = self._sent.pop(client, (0.0, now))
        sent = min(max(0.0, sent - (now - counted_at) / _FORGOTTEN_AFTER_S) + 1, _COUNTED_AT_MOST)
        self._sent[client] = (sent, now)
        if len(self._sent) > _ADDRESSES:
            self._sent.popitem(last=False)
        return sent

    def _log(self, client: str) -> None:
        self._since_log += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            log.warning("wrong API keys since the last such line: %d, the last one from %s", self._since_log, client)
            self._since_log = 0


def wait_after(sent: float) -> float:
    """Return the seconds that a wrong key waits, of an address that has sent so many, this one included."""
    beyond = sent - _AT_ONCE
    return 0.0 if beyond <= 0 else min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (beyond - 1))
