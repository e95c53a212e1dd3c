"""A background thread that repeats one piece of work, also after failures and while Redis cannot be reached."""

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from graphs.errors import ConfigurationError, ServiceUnavailable

log = logging.getLogger(__name__)

# The exit code for an error that an operator must correct: `imagegen serve` gives up on it during its start.
EXIT_CONFIGURATION = 2
# No process is forked in the middle of a cycle: it would inherit the locks that the cycle holds (of Celery, of an
# import) and wait for them for ever, because threads do not go on in a child.
_cycle_runs = threading.RLock()
os.register_at_fork(before=_cycle_runs.acquire, after_in_parent=_cycle_runs.release, after_in_child=_cycle_runs.release)


class PeriodicThread(threading.Thread, ABC):
    """A daemon thread that calls ``cycle`` at an interval until ``stop``."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._redis_away = False

    @abstractmethod
    def cycle(self) -> None:
        """Do the work once."""

    @abstractmethod
    def interval_s(self) -> float:
        """Return how many seconds to wait before the next cycle."""

    def wake(self) -> None:
        """Begin the next cycle at once."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread after its current cycle."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Repeat the cycle until stopped."""
        while not self._stopping.is_set():
            with _cycle_runs:
                self.guarded(self.cycle)
            self._wake.wait(self.interval_s())
            self._wake.clear()

    def guarded(self, act: Callable[[], None]) -> None:
        """Call ``act`` and log its failure; while Redis cannot be reached, only the first failure is logged.

        No exception may end this thread alone: without it leases run out and webhooks stay undelivered. A
        ConfigurationError ends the whole process, for example when Redis now holds the data of a newer release, or when
        the model cannot be loaded.
        """
        try:
            act()
        except ServiceUnavailable as error:
            if not self._redis_away:
                log.warning("%s: %s; trying again every %g s", self.name, error, self.interval_s())
            self._redis_away = True
        except ConfigurationError as error:
            log.critical("%s", error)
            logging.shutdown()
            os._exit(EXIT_CONFIGURATION)
        except Exception:
            log.exception("%s: a cycle failed", self.name)
        else:
            if self._redis_away:
                log.info("%s: Redis is back", self.name)
            self._redis_away = False
