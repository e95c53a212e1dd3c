"""A thread that looks at the models on disk and at the service, so that the main thread never waits for either."""

import logging
from dataclasses import dataclass

from config.environment import typed_model_options
from config.settings import Settings
from graphs.errors import ConfigurationError
from graphs.reload.served_models import ServedModels, Source
from graphs.reload.watched_files import WatchedFiles
from workers.jobs.models.fleet_view import Fleet, FleetView, Model
from workers.periodic_thread import PeriodicThread

log = logging.getLogger(__name__)

_CYCLE_S = 1.0


def source_of(settings: Settings) -> Source:
    """Return where these settings serve models from."""
    return Source(**settings.repository.model_dump(), typed=typed_model_options(settings))


@dataclass(frozen=True)
class Look:
    """The models on disk, as far as they can be read, and the service at that moment."""

    wanted: ServedModels
    fleet: Fleet


class DiskFollower(PeriodicThread):
    """Reads the models again when their files have changed or a reload was asked for.

    ``models`` are those that the service is asked about, and ``asks_for_workers`` whether it is for its workers too,
    whose number has no bound; the main thread sets both and reads ``latest``. Why files cannot be read is said by the
    API, which reads them as well.
    """

    def __init__(self, settings: Settings, served: ServedModels) -> None:
        super().__init__("models on disk")
        self.models: frozenset[Model] = frozenset()
        self.asks_for_workers = False
        self.latest: Look | None = None
        self._source = source_of(settings)
        self._wanted = served
        self._poll_s = settings.file_system_poll_wait_s
        self._watched = WatchedFiles(lambda: self._source.places([*self._wanted.repository.graphs.values()]))
        self._view = FleetView(settings.redis)
        self._reloads: int | None = None

    def interval_s(self) -> float:
        """Return how often to look: once a second at least, since models are waited for."""
        return min(_CYCLE_S, self._poll_s or _CYCLE_S)

    def cycle(self) -> None:
        """Look once."""
        if self._poll_s and self._watched.look():
            self._read()
        fleet = self._view.read(self.models, with_workers=self.asks_for_workers)
        if self._reloads not in (None, fleet.reloads):
            self._read()
        self._reloads = fleet.reloads
        self.latest = Look(self._wanted, fleet)

    def _read(self) -> None:
        try:
            self._wanted = self._source.read().after(self._wanted)
        except ConfigurationError as error:
            log.debug("the models on disk stay as they were: %s", error)
