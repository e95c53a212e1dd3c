"""The thread of a webhook worker's main process that finds the deliveries that are due."""

from collections.abc import Callable

from workers.jobs.deliveries import Deliveries
from workers.periodic_thread import PeriodicThread

_CYCLE_S = 0.25
_MOST_WAITING = 100


class DeliveryPoller(PeriodicThread):
    """Claims deliveries that are due and has them sent; several processes may do so at once."""

    def __init__(self, deliveries: Deliveries, send: Callable[[str, str], None]) -> None:
        """``send(event id, token)`` makes a worker attempt the delivery."""
        super().__init__("webhook deliveries")
        self._deliveries = deliveries
        self._send = send

    def interval_s(self) -> float:
        """Return how often to look for due deliveries, in seconds."""
        return _CYCLE_S

    def cycle(self) -> None:
        """Claim what is due and have it sent. Raises ServiceUnavailable or ConfigurationError."""
        self._deliveries.check_layout()
        for event_id, token in self._deliveries.claim_due(_MOST_WAITING):
            self._send(event_id, token)
