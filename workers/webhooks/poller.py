"""What a webhook worker's process does beside its deliveries: it looks for those that are due."""

import logging
import threading
from collections.abc import Callable

from graphs.errors import ServiceUnavailable
from workers.jobs.deliveries import Deliveries

log = logging.getLogger(__name__)

_CYCLE_S = 0.5
_MOST_WAITING = 100


class Dispatch(threading.Thread):
    """Claims what is due and has it delivered; any number of processes may do so."""

    def __init__(self, deliveries: Deliveries, send: Callable[[str, str], None]) -> None:
        """``send(event id, token)`` has a worker make a delivery."""
        super().__init__(name="dispatch", daemon=True)
        self._deliveries, self._send = deliveries, send
        self._stopping = threading.Event()
        self._redis_away = False

    def stop(self) -> None:
        """Claim nothing any more."""
        self._stopping.set()

    def run(self) -> None:
        """Do the rounds until stopped."""
        while not self._stopping.wait(_CYCLE_S):
            try:
                self._cycle()
            except ServiceUnavailable as error:  # an ordinary event: say it once, go on, say when it is back
                if not self._redis_away:
                    log.warning("%s; trying again every half second", error)
                self._redis_away = True
            except Exception:  # without this thread nothing is delivered: it goes on whatever happens
                log.exception("a round of looking for due webhooks failed")
            else:
                if self._redis_away:
                    log.info("Redis is back")
                self._redis_away = False

    def _cycle(self) -> None:
        for event_id, token in self._deliveries.claim_due(_MOST_WAITING):
            self._send(event_id, token)
