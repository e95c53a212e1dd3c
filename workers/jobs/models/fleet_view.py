"""What the process that starts workers must know of a service before it ends one: who lists, and what waits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from config.settings import RedisSettings
from workers.jobs.models.listing import listed_member
from workers.jobs.observe.presence import WorkerPresence, live_workers
from workers.jobs.redis.connection import connect, redis_errors
from workers.jobs.redis.keys import Keys, edges_of

Model = tuple[str, str]
"""A graph's name, and the digest of its model."""


@dataclass(frozen=True)
class Fleet:
    """One look at a service.

    ``workers``: None where they were not asked for. ``listed_ago_s``: since how many seconds no API process has listed
    a model; none for one that is listed by none. ``waiting``: how many jobs wait for a model. ``reloads``: how often a
    reload was asked for.
    """

    workers: tuple[WorkerPresence, ...] | None
    listed_ago_s: Mapping[Model, float]
    waiting: Mapping[Model, int]
    reloads: int


class FleetView:
    """Reads a Fleet in one round trip."""

    def __init__(self, redis_settings: RedisSettings) -> None:
        self._keys = Keys.of(redis_settings)
        self._redis = connect(redis_settings, retries=0)

    def read(self, models: Collection[Model], *, with_workers: bool) -> Fleet:
        """Return what is known of these models, and of the workers of all models. Raises ServiceUnavailable."""
        asked = list(models)
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            pipeline.get(self._keys.reloads)
            for graph, digest in asked:
                pipeline.zscore(self._keys.listed_models, listed_member(graph, digest))
                pipeline.zlexcount(self._keys.by_digest(graph), *edges_of(digest))
            if with_workers:
                pipeline.hgetall(self._keys.workers)
            (seconds, microseconds), reloads, *found = pipeline.execute()
        now = seconds + microseconds / 1e6
        workers = tuple(live_workers(found.pop(), now)) if with_workers else None
        listed = dict(zip(asked, found[::2], strict=True))
        return Fleet(
            workers,
            {model: now - at_ms / 1000 for model, at_ms in listed.items() if at_ms is not None},
            dict(zip(asked, found[1::2], strict=True)),
            int(reloads or 0),
        )
