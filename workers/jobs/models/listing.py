"""What API processes say of the models that they list, and what they hear of the others."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from config.settings import JobSettings, RedisSettings
from workers.jobs.job import model_removed_message
from workers.jobs.redis.connection import connect_async, redis_errors
from workers.jobs.redis.keys import Keys
from workers.jobs.redis.scripts import END_REMOVED, LISTING


@dataclass(frozen=True)
class ListingAnswer:
    """How often a reload was asked for, and since how many seconds which graphs are removed."""

    reloads: int
    removed_for_s: Mapping[str, float]


class ModelListing:
    """The listing of one API process. Every method raises ServiceUnavailable."""

    def __init__(self, redis_settings: RedisSettings, jobs: JobSettings) -> None:
        self._jobs = jobs
        self._keys = Keys.of(redis_settings)
        self._redis = connect_async(redis_settings)
        self._listing = self._redis.register_script(LISTING.source(self._keys))
        self._end_removed = self._redis.register_script(END_REMOVED.source(self._keys))

    async def say(self, listed: Mapping[str, str], removed: Collection[str]) -> ListingAnswer:
        """Say which graphs are listed now, each with the digest of its model, and which are so no longer."""
        call = LISTING.call(
            self._keys,
            listed_key=self._keys.listed_models,
            removed_key=self._keys.removed_graphs,
            reloads_key=self._keys.reloads,
            models=[listed_member(graph, digest) for graph, digest in listed.items()],
            graphs=list(listed),
            removed=list(removed),
        )
        with redis_errors():
            reloads, since = await self._listing(**call)
        return ListingAnswer(int(reloads), {since[i].decode(): since[i + 1] / 1000 for i in range(0, len(since), 2)})

    async def ask_for_reload(self) -> int:
        """Ask all processes to read their models again. Returns how often this was asked for."""
        with redis_errors():
            return int(await self._redis.incr(self._keys.reloads))

    async def end_removed(self, graph: str) -> int:
        """Fail the waiting jobs of a graph that has been removed for ``removed_grace_s``. Returns how many."""
        call = END_REMOVED.of(
            self._keys,
            graph,
            self._jobs,
            removed_key=self._keys.removed_graphs,
            removed_graph=graph,
            removed_grace_ms=int(self._jobs.removed_grace_s * 1000),
            message=model_removed_message(self._jobs.removed_grace_s),
        )
        with redis_errors():
            return int(await self._end_removed(**call))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def listed_member(graph: str, digest: str) -> str:
    """Return the member of ``Keys.listed_models`` for a graph and the digest of its model."""
    return f"{digest} {graph}"
